"""Print the tables of foreign_capitals.h, as this Python knows Unicode."""
import unicodedata

CODES = [code for code in range(0x110000) if not 0xd800 <= code < 0xe000]
UPPER = {code: [ord(each) for each in chr(code).upper()] for code in CODES
         if chr(code).upper() != chr(code)}
SINGLE = {code: upper[0] - code for code, upper in UPPER.items()
          if len(upper) == 1}
MANY = {code: upper for code, upper in UPPER.items() if len(upper) > 1}


def run_from(code: int, step: int) -> int:
    """The last of those that follow in that step and are as far away."""
    while SINGLE.get(code + step) == SINGLE[code] and \
            (step == 1 or code + 1 not in SINGLE):
        code += step
    return code


def in_rows(entries: list[str]) -> str:
    rows = ["   "]
    for entry in entries:
        if len(rows[-1]) + len(entry) + 2 > 79:
            rows.append("   ")
        rows[-1] += f" {entry},"
    return "\n".join(rows)


runs, left = [], sorted(SINGLE)
while left:
    first = left[0]
    last, step = max((run_from(first, step), step) for step in (1, 2))
    runs.append(f"{{{first:#x}, {last:#x}, {step}, {SINGLE[first]}}}")
    left = [code for code in left if code > last]

print(f"/* Unicode {unicodedata.unidata_version}: a run of letters, the step "
      "from one to the next,\n * and how far away their capitals are.\n */")
print("static const struct {\n    unsigned first, last;\n    int step, far;\n"
      "} runs[] = {\n" + in_rows(runs) + "\n};\n")
print("/* Letters whose capitals are several characters. */")
print("static const unsigned several[][4] = {\n" + in_rows(
    [f"{{{code:#x}, {', '.join(map(hex, upper))}}}"
     for code, upper in MANY.items()]) + "\n};")
