#!/usr/bin/python3
"""Writes oracle.tsv: what filters made by libseccomp answer, for tests.rs to compare with.

Needs Debian's python3-seccomp (libseccomp 2.5.4). Reads the profiles as moby and runc do, hands the rules to libseccomp,
and runs the exported programs on every call number with the argument lists below.

usage: ./oracle.py > oracle.tsv
"""

import json
import os
import struct
import tempfile

import seccomp

HERE = os.path.dirname(os.path.abspath(__file__))
KERNEL = (6, 18)
DOCKER = "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE"
# libseccomp 2.5.4 knows the calls up to 450 and none of these.
UNKNOWN = {("x86_64", 335), ("x86_64", 336)}
ABIS = {
    "x86_64": (0xC000003E, range(0, 451)),
    "i386": (0x40000003, range(0, 451)),
    "x32": (0xC000003E, [0x40000000 + n for n in [*range(0, 451), *range(512, 548)]]),
    "aarch64": (0xC00000B7, range(0, 451)),
    "arm": (0x40000028, range(0, 451)),
    "foreign": (0x80000016, [0, 1, 450]),
}
MACHINES = {"amd64": ("SCMP_ARCH_X86_64", ["x86_64", "i386", "x32"]), "arm64": ("SCMP_ARCH_AARCH64", ["aarch64", "arm"])}
ARCH = {
    "SCMP_ARCH_X86_64": seccomp.Arch.X86_64,
    "SCMP_ARCH_X86": seccomp.Arch.X86,
    "SCMP_ARCH_X32": seccomp.Arch.X32,
    "SCMP_ARCH_AARCH64": seccomp.Arch.AARCH64,
    "SCMP_ARCH_ARM": seccomp.Arch.ARM,
}
OPS = {"NE": seccomp.NE, "LT": seccomp.LT, "LE": seccomp.LE, "EQ": seccomp.EQ, "GE": seccomp.GE, "GT": seccomp.GT}
ARGUMENTS = [
    [0, 0, 0, 0, 0, 0],
    [1, 1, 1, 1, 1, 1],
    [2, 17, 40, 3, 5, 6],
    [8, 8, 8, 8, 8, 8],
    [38, 38, 38, 38, 38, 38],
    [39, 17, 39, 0, 0, 0],
    [40, 0xFFFFFFFF, 41, 0xFFFFFFFF, 38, 0xFFFFFFFF],
    [41, 0x100000000, 0x100000026, 0x100000000, 38, 0x100000000],
    [16, 0x5412, 0x200000026, 0x100000001, 0x100000026, 0xFFFFFFFFFFFFFFFF],
    [31, 0x541C, 0x200000025, 0xFFFFFFFEFFFFFFFF, 0, 0xFFFFFFFF00000000],
    [0x20000, 0x11, 0x200000027, 0, 0, 0],
    [0x20008, 0x10000000, 0x300000000, 0, 0, 0],
    [0xFFFFFFFF, 0x7E020000, 0, 0, 0, 0],
    [0x100000000, 0x100000001, 0, 0, 0, 0],
    [0x100000026, 0, 0, 0, 0, 0],
    [0x100000002, 0, 0, 0, 0, 0],
    [0x11, 0x20000, 0, 0, 0, 0],
    [0x10000011, 0x7E020000, 0, 0, 0, 0],
    [0xFFFFFFFFFFFFFFFF] * 6,
]


def action(name, errno):
    errno = 1 if errno is None else errno
    return {
        "KILL": seccomp.KILL,
        "KILL_PROCESS": seccomp.KILL_PROCESS,
        "TRAP": seccomp.TRAP,
        "LOG": seccomp.LOG,
        "ALLOW": seccomp.ALLOW,
        "ERRNO": seccomp.ERRNO(errno),
        "TRACE": seccomp.TRACE(errno),
    }[name.removeprefix("SCMP_ACT_")]


def condition(arg):
    op = arg["op"].removeprefix("SCMP_CMP_")
    if op == "MASKED_EQ":
        return seccomp.Arg(arg["index"], seccomp.MASKED_EQ, arg["value"], arg.get("valueTwo", 0))
    return seccomp.Arg(arg["index"], OPS[op], arg["value"])


def holds(rule, machine, capabilities):
    def kernel(text):
        return KERNEL >= tuple(int(part) for part in text.split("."))

    no, yes = rule.get("excludes") or {}, rule.get("includes") or {}
    if machine in (no.get("arches") or []) or any(c in capabilities for c in no.get("caps") or []):
        return False
    if no.get("minKernel") and kernel(no["minKernel"]):
        return False
    if yes.get("arches") and machine not in yes["arches"]:
        return False
    if not all(c in capabilities for c in yes.get("caps") or []):
        return False
    return not yes.get("minKernel") or kernel(yes["minKernel"])


def program(profile, machine, capabilities):
    default = action(profile["defaultAction"], profile.get("defaultErrnoRet"))
    result = seccomp.SyscallFilter(default)
    native = MACHINES[machine][0]
    wanted = set(profile.get("architectures") or [])
    for section in profile.get("archMap") or []:
        if section["architecture"] == native:
            wanted |= {native, *(section["subArchitectures"] or [])}
    result.remove_arch(seccomp.Arch.NATIVE)
    mine = {"amd64": {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"}, "arm64": {"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"}}
    for name in sorted(({native} | wanted) & mine[machine]):
        result.add_arch(ARCH[name])
    for rule in profile["syscalls"]:
        if not holds(rule, machine, capabilities):
            continue
        verdict = action(rule["action"], rule.get("errnoRet"))
        if verdict == default:
            continue
        args = rule.get("args") or []
        indexes = [arg["index"] for arg in args]
        for name in rule.get("names") or [rule["name"]]:
            try:
                seccomp.resolve_syscall(seccomp.Arch.NATIVE, name)
                if len(set(indexes)) < len(indexes):
                    for arg in args:
                        result.add_rule(verdict, name, condition(arg))
                else:
                    result.add_rule(verdict, name, *[condition(arg) for arg in args])
            except (ValueError, RuntimeError) as error:
                if "-22" not in str(error) and not isinstance(error, ValueError):
                    raise
    with tempfile.TemporaryFile() as file:
        result.export_bpf(file)
        file.seek(0)
        code = file.read()
    return [struct.unpack_from("<HBBI", code, at) for at in range(0, len(code), 8)]


def run(code, arch, number, arguments):
    data = struct.pack("<IIQ6Q", number, arch, 0, *arguments)
    accumulator, at = 0, 0
    while True:
        operation, true, false, k = code[at]
        at += 1
        if operation == 0x20:
            accumulator = struct.unpack_from("<I", data, k)[0]
        elif operation == 0x54:
            accumulator &= k
        elif operation == 0x06:
            return k
        elif operation == 0x05:
            at += k
        else:
            taken = {0x15: accumulator == k, 0x25: accumulator > k, 0x35: accumulator >= k}[operation]
            at += true if taken else false


def main():
    print("# made by oracle.py from libseccomp", ".".join(map(str, seccomp.__version__ if hasattr(seccomp, "__version__") else (2, 5, 4))))
    for arguments in ARGUMENTS:
        print("arguments", *[f"{argument:x}" for argument in arguments], sep="\t")
    docker = {f"CAP_{name}" for name in DOCKER.split()}
    more = {"CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_BPF", "CAP_SYSLOG", "CAP_DAC_READ_SEARCH"}
    stock = "../../../data/seccomp-default.json"
    for path, capabilities in [(stock, set()), (stock, docker), (stock, docker | more), ("operators.json", docker), ("native-only.json", docker)]:
        with open(os.path.join(HERE, path), encoding="utf-8") as file:
            profile = json.load(file)
        for machine, (_, abis) in MACHINES.items():
            print("filter", os.path.basename(path), machine, *sorted(capabilities), sep="\t")
            code = program(profile, machine, capabilities)
            previous = None
            for abi in [*abis, "foreign"]:
                arch, numbers = ABIS[abi]
                narrow = abi in ("i386", "arm")
                for number in numbers:
                    if (abi, number) in UNKNOWN:
                        continue
                    verdicts = [run(code, arch, number, [a & 0xFFFFFFFF if narrow else a for a in arguments]) for arguments in ARGUMENTS]
                    verdicts = verdicts[:1] if len(set(verdicts)) == 1 else verdicts
                    line = [f"{v:x}" for v in verdicts]
                    if previous and previous[0] == arch and previous[3] == line and previous[2] == number - 1:
                        previous[2] = number
                        continue
                    flush(previous)
                    previous = [arch, number, number, line]
            flush(previous)


def flush(row):
    if row:
        print("calls", f"{row[0]:x}", f"{row[1]:x}", f"{row[2]:x}", *row[3], sep="\t")


main()
