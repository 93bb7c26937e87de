"""sockstep's conformance runner: drives programs over real sockets.

One job a module:

======================  =====================================================
`contract`              lessons, steps, programs: what is asked of whom
`case`                  what a case is: requirement, level, source, points
`selection`             from the user's words (LESSON=, CASE=) to programs
`build`                 compiles submissions and mutants
`run`                   one run of the cases over some programs (pytest)
`plugin`                the pytest side: parameters, fixtures, records
`stage`                 all that one case has on: programs, peers, listener
`closing`               what is asked after every case
`proof`                 whether the program serves at all
`program`               one process under test
`waiting`, `watched`    what a blocked program waits in, and for whom
`spot`, `opened`        where in its source it is, which sockets it has
`leaving`               how it left a connection
`crash`                 where it crashed: the second look
`peer`, `listener`      a scripted end of a connection, a server for clients
`unix`, `datagram`      the same over AF_UNIX and UDP
`services`              what a whole exchange is, for each service
`data`                  bytes to send
`transcript`            what happened, in order, and how to show it
`sockdiag`, `procfs`    the kernel's own tables
`tools`                 where the kit's own binaries are
`deadline`              every time limit
`failure`               the different ways to go wrong
`faults`                plans and call logs of the fault preload
`sweep`                 every call of a scenario made to fail once
`valgrind`              Valgrind's findings, and the places of crashes
`variants`              steps built with sanitizers, and against musl
`confine`               limits that keep a program from harming the machine
`results`               the one result model, written as it grows
`mutants`, `manifest`   sound programs broken on purpose; program.toml
`prove`, `matrix`       mutants, null and foreign programs judged by cases
`golden`                what learners are told, kept and compared
`catalogue`, `foreign`  the classic faults, and the cases that find them;
                        what programs by others are known to fail
`console`               what a terminal shows
`page`, `difference`    the report page, one step beside the next
======================  =====================================================
"""
