"""The Autobahn TestSuite without its command: loopback only, JSON only, an exit code. For Python 2.7.

    fuzzingserver PORT REPORTDIR [CASE...]   prints `port N`; PORT 0 is one of the system's choice
    fuzzingclient URL REPORTDIR [CASE...]

A CASE is an id or a pattern (9.*); without any it is all but compression. See ../README.md.
"""

from __future__ import print_function

import os
import re
import sys
import threading
import types

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "lib"))

import twisted.internet

# The suite asks for TLS when it is loaded and, in one place, for an object it then leaves alone. The
# real module would need OpenSSL 1.1 and two compiled packages.
tls = types.ModuleType("twisted.internet.ssl")
tls.ClientContextFactory = object
sys.modules["twisted.internet.ssl"] = twisted.internet.ssl = tls
# Its command, with all modes, would be loaded too, and wants more packages than these two.
sys.modules["autobahntestsuite.wstest"] = types.ModuleType("autobahntestsuite.wstest")

# It chooses the reactor, so it is first.
from autobahntestsuite import fuzzing
from autobahn.twisted.websocket import listenWS
from twisted.internet import reactor

DEADLINE = 45 * 60
COMPRESSION = ["12.*", "13.*"]


class Reports(object):
    """What both roles share: reports without HTML, and what is missing in them."""

    def createReports(self):
        fuzzing.FuzzingFactory.createReports(self, produceHtml=False)

    def missing(self):
        done = [set(cases) for cases in self.agents.values()] or [set()]
        return sorted(set(self.specCases) - set.intersection(*done))


class Server(Reports, fuzzing.FuzzingServerFactory):
    pass


class Client(Reports, fuzzing.FuzzingClientFactory):
    pass


def quit(words, code):
    print("ws-autobahn:", words, file=sys.stderr)
    sys.exit(code)


def spec(reports, cases):
    known = fuzzing.CaseSet(
        fuzzing.CaseSetname, fuzzing.CaseBasename, fuzzing.Cases, fuzzing.CaseCategories, fuzzing.CaseSubCategories
    ).CasesIndices
    for case in cases:
        # As the suite reads it.
        pattern = re.compile(case.replace(".", r"\.").replace("*", ".*") + ("" if "*" in case else "$"))
        if not any(pattern.match(id) for id in known):
            quit("no such case: %s" % case, 2)
    return {
        "outdir": reports,
        "options": {"failByDrop": False},
        "cases": cases or ["*"],
        "exclude-cases": [] if cases else COMPRESSION,
        "exclude-agent-cases": {},
    }


def serve(out, port, reports, cases):
    settings = spec(reports, cases)
    # A port is needed to make the factory; the real one, which it compares Host with, is known later.
    settings["url"] = "ws://127.0.0.1:%d" % (port or 1)
    factory = Server(settings)
    factory.port = port
    factory.externalPort = factory.port = listenWS(factory, interface="127.0.0.1").getHost().port
    print("port %d" % factory.port, file=out)
    out.flush()

    def until_stdin_ends():
        while os.read(0, 4096):
            pass
        reactor.callFromThread(reactor.stop)

    waiting = threading.Thread(target=until_stdin_ends)
    waiting.daemon = True
    waiting.start()
    reactor.run()
    factory.createReports()


def connect(url, reports, cases):
    settings = spec(reports, cases)
    settings["servers"] = [{"agent": "server", "url": url}]
    factory = Client(settings)
    reactor.run()
    missing = factory.missing()
    if missing:
        quit("not run: %s" % " ".join(missing), 1)


def expired():
    print("ws-autobahn: still there after %d s" % DEADLINE, file=sys.stderr)
    os._exit(1)


def main(args):
    # What the suite says while it works is nothing a caller has to read.
    out, sys.stdout = sys.stdout, sys.stderr
    reactor.callLater(DEADLINE, expired)
    if len(args) >= 3 and args[0] == "fuzzingserver" and args[1].isdigit():
        serve(out, int(args[1]), args[2], args[3:])
    elif len(args) >= 3 and args[0] == "fuzzingclient":
        connect(args[1], args[2], args[3:])
    else:
        quit("usage: fuzzingserver PORT REPORTDIR [CASE...] | fuzzingclient URL REPORTDIR [CASE...]", 2)


main(sys.argv[1:])
