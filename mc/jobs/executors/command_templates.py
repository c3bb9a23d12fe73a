"""Templates of the executor `command`: how to submit, list and cancel jobs with some schedulers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from mc.jobs.script import job_files

__all__ = ["TEMPLATES", "CommandTemplate"]

_SCRIPT: Final = ("{python}", "-E", "-s", "-S", "{script}", "{limits}", "{folder}")

# What `ssh` carries out on the host, behind the functions of `job_files`; a job is known by its folder.
_ON_HOST: Final = """
import signal, sys

def find(folder):
    if not os.path.isdir(folder):
        sys.exit("The folder %s is not there on %s." % (folder, read_host()))
    try:
        claim = read_json(folder + "/claim.json")
    except FileNotFoundError:
        return None
    if claim["host"] != read_host():
        sys.exit("The job in %s is on %s, and this is %s." % (folder, claim["host"], read_host()))
    mine, its = read_boot_id(), claim["boot_id"]
    if mine != its and mine.partition(".")[0] == its.partition(".")[0]:
        sys.exit("The job in %s is in another container of %s." % (folder, read_host()))
    return claim["pid"] if mine == its and read_start(claim["pid"]) == claim["started"] else None

def find_remains(folder):
    mark = b"MC_JOB_FOLDER=" + os.fsencode(folder)
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open("/proc/%s/environ" % name, "rb") as file:
                    if mark in file.read().split(b"\\0"):
                        found.append(int(name))
            except OSError:
                pass
    return found

def send(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass

verb, folders = sys.argv[1], sys.argv[2:]
for folder in folders:
    pid = find(folder)
    if verb == "look" and pid is not None:
        write_all(1, os.fsencode(folder) + b"\\n")
    elif verb == "stop" and pid is not None:
        send(pid, signal.SIGTERM)
    elif verb == "kill":
        if pid is not None:
            send(pid, signal.SIGKILL)
        for _ in range(50):
            left = find_remains(folder)
            if not left:
                break
            for each in left:
                send(each, signal.SIGKILL)
            time.sleep(0.1)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandTemplate:
    """Commands of a scheduler, in which placeholders are replaced; see `docs/how-to/other-schedulers.md`.

    Attributes:
        submit: submits one job. A list inside is left out as a whole where one of its values is not known.
        list: lists jobs.
        cancel: asks jobs to end.
        kill: ends them by force; as `cancel` unless given.
        id: a regular expression with a group that finds the job's id in what `submit` prints; or, without a
            group, a text that is the id.
        alive: a regular expression that finds jobs in what `list` prints: groups `id`, `state`, `name`.
        alive_states: of jobs that have not ended; those without a state are alive where they are listed.
        unreachable: a regular expression that finds in what a failed command says that nobody answered.
        program: text that `list`, `cancel` and `kill` read.
        max_workers: how many jobs it has at a time; None: no limit.
    """

    submit: Sequence[str | Sequence[str]]
    list: Sequence[str | Sequence[str]]
    cancel: Sequence[str | Sequence[str]]
    kill: Sequence[str | Sequence[str]] | None = None
    id: str = "{name}"
    alive: str
    alive_states: Sequence[str] = ()
    unreachable: str = r"(?i)connect|unreachable|timed out|timeout|resolve"
    program: str = ""
    max_workers: int | None = None


def _read_source(module_file: str | None) -> str:
    return "" if module_file is None else Path(module_file).read_text(encoding="utf-8")


def _make_ssh() -> CommandTemplate:
    ssh = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "{options}", "{host}")
    program = "{python:sh} -E -s -S -"
    start = (
        "cd {cwd:sh} || exit; "
        "command -v {python:sh} >/dev/null || "
        "{ echo There is no {python:sh} on $(uname -n) >&2; exit 127; }; "
        "exec {python:sh} -E -s -S {script:sh} {limits:sh} --detach {folder:sh} </dev/null "
        "2>>{folder:sh}/script.log"
    )
    return CommandTemplate(
        submit=(
            *ssh,
            start,
        ),
        list=(*ssh, f"{program} look {{ids:sh}}"),
        cancel=(*ssh, f"{program} stop {{ids:sh}}"),
        kill=(*ssh, f"{program} kill {{ids:sh}}"),
        id="{folder}",
        alive=r"(?m)^(?P<id>/.+)$",
        unreachable=r"(?m)^ssh: |Connection (?:closed|reset|timed out)|kex_exchange|Permission denied|"
        r"Host key verification failed",
        program=_read_source(job_files.__file__) + _ON_HOST,
        max_workers=4,
    )


_KUBERNETES_POD: Final = """\
{"spec": {
  "restartPolicy": "Never",
  "containers": [{
    "name": "job",
    "image": {image:json},
    "command": [{python:json}, "-E", "-s", "-S", {script:json}, {folder:json}],
    "volumeMounts": [{"name": "data", "mountPath": {mount:json}}]
  }],
  "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": {claim:json}}}]
}}"""

TEMPLATES: Final[Mapping[str, CommandTemplate]] = MappingProxyType(
    {
        "ssh": _make_ssh(),
        "ray": CommandTemplate(
            submit=(
                *("ray", "job", "submit", "{options}", "--no-wait", "--submission-id", "{name}"),
                *(("--entrypoint-num-cpus", "{cpus}"), ("--entrypoint-num-gpus", "{gpus}")),
                *(("--entrypoint-memory", "{memory}"), "--", *_SCRIPT),
            ),
            list=("ray", "job", "list", "{options}"),
            cancel=("ray", "job", "stop", "{options}", "--no-wait", "{id}"),
            alive=r"(?s)submission_id='(?P<id>[^']+)'.*?status=<JobStatus\.(?P<state>\w+)",
            alive_states=("PENDING", "RUNNING"),
        ),
        "pbs": CommandTemplate(
            submit=(
                *("qsub", "-N", "{name}", "-r", "n", "-j", "oe", "-o", "/dev/null"),
                *(("-l", "ncpus={cpus}"), ("-l", "mem={memory}b"), ("-l", "ngpus={gpus}")),
                *(("-l", "walltime={seconds}"), "{options}", "--", *_SCRIPT),
            ),
            list=("qstat", "-f"),
            cancel=("qdel", "{ids}"),
            kill=("qdel", "-W", "force", "{ids}"),
            id=r"(\S+)",
            alive=r"(?ms)^Job Id: (?P<id>\S+)\n\s+Job_Name = (?P<name>\S+).*?^\s+job_state = (?P<state>\w)",
            alive_states=("B", "E", "H", "M", "Q", "R", "S", "T", "U", "W"),
        ),
        "lsf": CommandTemplate(
            submit=(
                *("bsub", "-J", "{name}", "-rn", "-o", "/dev/null", ("-n", "{cpus}")),
                ("-M", "{memory_mb}MB"),
                *(("-gpu", "num={gpus}"), ("-W", "{minutes}"), "{options}", *_SCRIPT),
            ),
            list=("bjobs", "-a", "-noheader", "-o", "jobid stat job_name delimiter='|'"),
            cancel=("bkill", "-s", "TERM", "{ids}"),
            kill=("bkill", "{ids}"),
            id=r"Job <(\d+)>",
            alive=r"(?m)^(?P<id>\d+)\|(?P<state>\w+)\|(?P<name>\S+)",
            alive_states=("PEND", "PROV", "PSUSP", "RUN", "SSUSP", "UNKWN", "USUSP", "WAIT"),
            unreachable=r"(?i)connect|LSF is down|not responding|try again",
        ),
        "kubernetes": CommandTemplate(
            submit=(
                *("kubectl", "run", "{name}", "{options}", "--image={image}", "--restart=Never"),
                *("--labels=app=mission-control", f"--overrides={_KUBERNETES_POD}"),
            ),
            list=(
                *("kubectl", "get", "pods", "{options}", "--selector=app=mission-control", "--no-headers"),
                *("-o", "custom-columns=NAME:.metadata.name,PHASE:.status.phase"),
            ),
            cancel=("kubectl", "delete", "pod", "{options}", "--wait=false", "{ids}"),
            kill=(
                *("kubectl", "delete", "pod", "{options}", "--wait=false", "--grace-period=0", "--force"),
                "{ids}",
            ),
            alive=r"(?m)^(?P<id>\S+)\s+(?P<state>\S+)",
            alive_states=("Pending", "Running", "Unknown"),
        ),
    }
)
