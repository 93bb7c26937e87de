"""The pytest side: one test item for each case and program.

Loaded by ``-p sockstep.plugin`` in the controlling process and in each xdist
worker.  What is to be run the controller hands to each worker (see
`run.Plan`): no program can change that.  Each item ends in exactly one record,
attached to the report of its teardown, so that it crosses to the controller as
it is.
"""
from __future__ import annotations

import ctypes
import dataclasses
import resource
import shutil
import signal
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol

from . import closing, confine, crash, data, proof, run
from .contract import Target
from .failure import Failure
from .roles import Client, Resolver, Server
from .stage import Stage

PROPERTY = "sockstep"
#: Descriptors that this process may have; what it starts gets its own limit.
MOST_DESCRIPTORS = 4096
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_stage_key: pytest.StashKey[Stage] = pytest.StashKey()
_outcome_key: pytest.StashKey[list] = pytest.StashKey()
_look_key: pytest.StashKey[crash.Look] = pytest.StashKey()


class _Worker:
    """What the process that runs cases has once, for all of them."""

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == -1:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
        # No program may look into this process, or write there: ptrace(2).
        libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
        # A core file would count as one that the program left behind.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # A thousand clients have a descriptor each, here as in the server.
        _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY \
            else min(hard, MOST_DESCRIPTORS)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        # Within the folder of the run, which is removed at its end even if a
        # program has killed this process.
        self.folder = Path(tempfile.mkdtemp(prefix="worker.", dir=folder))
        self.task_limit = confine.TaskLimit()
        self.count = 0
        #: What was found against a program, and the evidence: see `proof`.
        self.proofs: dict[str, tuple[list, dict]] = {}
        self.looks: Counter[str] = Counter()

    def may_look(self, target: Target) -> bool:
        """Whether the program gets one more second look."""
        self.looks[target.key] += 1
        return self.looks[target.key] <= crash.MOST_LOOKS

    def next_folder(self) -> Path:
        self.count += 1
        return self.folder / str(self.count)

    def prove(self, target: Target, plan: run.Plan) -> tuple[list, dict]:
        """Whether the program serves at all, found out once."""
        # Of a step the list of its gaps says what it lacks: one of the
        # documents' servers serves nobody.
        if not plan.proof or target.kind == "step":
            return [], {}
        if target.key not in self.proofs:
            gathered: list = []
            stage = Stage(self.next_folder(), plan.tools, target,
                          task_limit=self.task_limit)
            _try(lambda: proof.ask(stage), gathered)
            evidence = _evidence(stage, gathered) if gathered else {}
            _try(stage.close, gathered)
            self.proofs[target.key] = gathered, evidence
        return self.proofs[target.key]


def pytest_configure(config: pytest.Config) -> None:
    is_controller = not hasattr(config, "workerinput")
    if is_controller:
        given = _collector(config)
        config.sockstep_plan, folder = given.plan, given.folder
    else:
        config.sockstep_plan = run.Plan.from_text(config.workerinput["plan"])
        folder = Path(config.workerinput["folder"])
    data.set_seed(config.sockstep_plan.seed)
    runs_cases = not is_controller or not config.getoption("numprocesses",
                                                           None)
    config.sockstep_worker = _Worker(folder) if runs_cases else None
    # SIGTERM ends a run as Ctrl-C does: programs ended, results kept.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if not is_controller:
        # The terminal, the controller and its end may all say so: once is
        # enough, and the clearing up is left alone then.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _interrupt_once)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


@pytest.hookimpl(optionalhook=True)         # of xdist, in the controller
def pytest_configure_node(node) -> None:
    """Hand the plan to a worker: in a file a program could change it."""
    given = _collector(node.config)
    node.workerinput["plan"] = given.plan.as_text()
    node.workerinput["folder"] = str(given.folder)


def _collector(config: pytest.Config) -> run.Collector:
    found, = (plugin for plugin in config.pluginmanager.get_plugins()
              if isinstance(plugin, run.Collector))
    return found


def _interrupt_once(_number: int, _frame) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def pytest_unconfigure(config: pytest.Config) -> None:
    worker = getattr(config, "sockstep_worker", None)
    if worker:
        worker.task_limit.leave()
        shutil.rmtree(worker.folder)        # holds a stage that was cut off


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    entry = getattr(metafunc.function, "case", None)
    if entry is None:
        return
    plan: run.Plan = metafunc.config.sockstep_plan
    targets = [target for target in plan.targets if plan.runs(entry, target)]
    metafunc.parametrize("target", targets,
                         ids=[target.key for target in targets])


def pytest_collection_modifyitems(config: pytest.Config,
                                  items: list[pytest.Item]) -> None:
    """The slow ones first, so that no worker is left with one at the end.

    A function without a program to judge is made an item all the same by
    pytest, to be skipped: it is taken out here.
    """
    items[:] = [item for item in items
                if isinstance(item.callspec.params["target"], Target)]
    items.sort(key=lambda item: not item.function.case.valgrind)


@pytest.fixture
def stage(request: pytest.FixtureRequest, target: Target):
    """An empty stage: for cases that start programs in their own way."""
    config = request.config
    entry = request.function.case
    worker: _Worker = config.sockstep_worker
    if entry.sanitized:
        target = dataclasses.replace(target, command=target.sanitized,
                                     variant="bounds")
    look = request.node.stash.get(_look_key, None)
    made = Stage(worker.next_folder(), config.sockstep_plan.tools, target,
                 under_valgrind=entry.valgrind and not target.variant
                 or look is not None, task_limit=worker.task_limit,
                 told=config.sockstep_plan.tells(entry, target)
                 and look is None, find_crash=look is not None)
    if config.sockstep_plan.sweep not in ("yes", "no"):
        made.only_plan = config.sockstep_plan.sweep
    request.node.stash[_stage_key] = made
    yield made


@pytest.fixture
def launch_server(stage: Stage):
    """Start the server with options of `Server.launch`."""
    return lambda **options: Server.launch(stage, stage.target, **options)


@pytest.fixture
def server(launch_server) -> Server:
    """The server, listening on a port of the kernel's choice."""
    return launch_server()


@pytest.fixture
def launch_client(stage: Stage):
    """Start the client with options of `Client.launch`."""
    return lambda **options: Client.launch(stage, stage.target, **options)


@pytest.fixture
def client(launch_client) -> Client:
    """The client, started against a server of the harness."""
    return launch_client()


@pytest.fixture
def resolve(stage: Stage, target: Target):
    """Ask the resolver under test for a name; see `Resolver.launch`."""
    return lambda host, **options: Resolver.launch(stage, target, host,
                                                   **options)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item,
                            nextitem: pytest.Item | None) -> bool:
    """Run an item; if its program crashed, once more, to see where.

    Only the first run is reported.
    """
    hook = item.ihook
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    try:
        if look := item.stash.get(_look_key, None):
            runtestprotocol(item, log=False, nextitem=nextitem)
            for name, record in reports[-1].user_properties:
                if name == PROPERTY:
                    crash.tell(record, look)
    finally:
        for report in reports:
            hook.pytest_runtest_logreport(report=report)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """Gather what each phase brought; make the record at the end."""
    outcome = yield
    report = outcome.get_result()
    gathered = item.stash.setdefault(_outcome_key, [])
    if call.excinfo is not None:
        gathered.append(call.excinfo.value)
    stage = item.stash.get(_stage_key, None)
    if call.when == "call" and not gathered and stage:
        _try(stage.closing_questions, gathered)
    if call.when == "call" and stage and stage.target.variant and \
            isinstance(call.excinfo and call.excinfo.value, Failure):
        # A sanitizer ends the program, which is what the case has met.
        gathered[:0] = closing.sanitizers_say(stage)
    if call.when == "setup":
        item.stash[_started] = call.start
    if call.when == "teardown":
        look = item.stash.get(_look_key, None)
        if look is None:
            record = _judged(item, stage, gathered)
            report.user_properties.append((PROPERTY, record))
        elif stage:
            look.crashes = crash.seen(stage)
            _try(stage.close, gathered)
        # pytest keeps the item; the bytes of a flood must not stay with it.
        for error in gathered:
            error.__traceback__ = None
        gathered.clear()
        if stage:
            del item.stash[_stage_key]


def _judged(item: pytest.Item, stage: Stage | None, gathered: list) -> dict:
    """The record of the item's run, whose stage is given back."""
    target = item.callspec.params["target"]
    evidence, look = {}, None
    if stage:
        if gathered and isinstance(gathered[0], Failure):
            _try(lambda: crash.note(stage, gathered[0]), gathered)
            look = crash.look_for(stage, gathered[0])
        evidence = _evidence(stage, gathered)
        _try(stage.close, gathered)
    if not gathered:
        found, more = item.config.sockstep_worker.prove(
            target, item.config.sockstep_plan)
        gathered += found
        evidence = more or evidence
    seconds = time.time() - item.stash[_started]
    record = run.record_of(item.function.case, target, seconds, gathered,
                           evidence)
    if look and look.crashes:
        crash.tell(record, look)
    elif look and item.config.sockstep_worker.may_look(target):
        item.stash[_look_key] = look
    return record


_started: pytest.StashKey[float] = pytest.StashKey()


def _try(act, gathered: list) -> None:
    """Run `act`; what it raises is gathered, never lost."""
    try:
        act()
    except Exception as error:              # judged in run.record_of
        gathered.append(error)


def _evidence(stage: Stage, gathered: list) -> dict:
    evidence: dict = {}

    def gather() -> None:
        evidence["process"] = stage.facts()
        program = stage.subject
        if program:
            evidence["stderr"] = program.last_words
            evidence["stdout"] = program.stdout[-2000:].decode(
                errors="backslashreplace")
            if program.plan:
                evidence["faults"] = program.plan
                evidence["calls"] = [str(entry)
                                     for entry in program.calls()[-40:]]
        if stage.sweep:
            evidence["sweep"] = str(stage.sweep)
        if stage.findings:
            evidence["valgrind"] = stage.findings
        evidence["transcript"] = stage.transcript.as_json()

    _try(gather, gathered)
    return evidence


def describe_error(error: BaseException) -> str:
    """The harness's own error, with where it arose."""
    return "".join(traceback.format_exception(error)[-6:]).strip()
