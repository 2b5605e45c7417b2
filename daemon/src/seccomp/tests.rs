//! The compiler against libseccomp, against a plain reading of the policy, and against the promises of the default
//! profile.

use proptest::prelude::*;

use super::abi::{Abi, X32_BIT};
use super::assemble::assemble;
use super::interpreter::{Call, Outcome, run};
use super::policy::{Action, Comparison, Condition};
use super::*;
use crate::capability::Capability;

const KERNEL: (u32, u32) = (6, 18);
const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const KILL_THREAD: u32 = 0;

const STOCK: &str = include_str!("../../data/seccomp-default.json");
const OPERATORS: &str = include_str!("testdata/operators.json");
const NATIVE_ONLY: &str = include_str!("testdata/native-only.json");

fn policy(profile: &Profile, machine: Machine, capabilities: CapabilitySet) -> Policy {
    Policy::new(&profile.document, profile.deltas.as_deref(), machine, capabilities, KERNEL)
}

fn program(profile: &Profile, machine: Machine, capabilities: CapabilitySet) -> Vec<u8> {
    Program::new(&assemble(&policy(profile, machine, capabilities))).unwrap().bytes
}

fn parse(json: &str) -> Profile {
    Profile::parse(json).unwrap()
}

/// The default profile for a container with Docker's default capabilities and perhaps more.
fn default_program(machine: Machine, more: &[&str]) -> Vec<u8> {
    let more = more.iter().map(|name| Capability::from_name(name).unwrap()).collect();
    program(&Profile::default(), machine, CapabilitySet::DOCKER_DEFAULT.union(more))
}

fn verdict(program: &[u8], abi: Abi, name: &str, arguments: &[u64]) -> u32 {
    let mut six = [0; 6];
    six[..arguments.len()].copy_from_slice(arguments);
    let number = abi.number(name).unwrap();
    run(program, &Call { number, arch: abi.audit_arch(), arguments: six }).verdict
}

/// `testdata/oracle.tsv` says what filters made by libseccomp answer to every call; `testdata/oracle.py` made it.
#[test]
fn every_call_is_answered_as_by_libseccomp() {
    let mut argument_lists: Vec<[u64; 6]> = Vec::new();
    let mut filter: Option<(String, Vec<u8>)> = None;
    let mut compared = 0;
    for line in include_str!("testdata/oracle.tsv").lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        let hex = |text: &&str| u64::from_str_radix(text, 16).unwrap();
        match fields[0] {
            "arguments" => {
                argument_lists.push(fields[1..].iter().map(hex).collect::<Vec<_>>().try_into().unwrap());
            }
            "filter" => {
                let json = match fields[1] {
                    "seccomp-default.json" => STOCK,
                    "operators.json" => OPERATORS,
                    "native-only.json" => NATIVE_ONLY,
                    other => panic!("no profile {other}"),
                };
                let machine = if fields[2] == "amd64" { Machine::X86_64 } else { Machine::Aarch64 };
                let capabilities = fields[3..].iter().map(|name| Capability::from_name(name).unwrap()).collect();
                filter = Some((line.to_owned(), program(&parse(json), machine, capabilities)));
            }
            "calls" => {
                let (name, program) = filter.as_ref().unwrap();
                let numbers: Vec<u64> = fields[1..4].iter().map(hex).collect();
                let expected: Vec<u64> = fields[4..].iter().map(hex).collect();
                let arch = numbers[0] as u32;
                for number in numbers[1]..=numbers[2] {
                    for (index, arguments) in argument_lists.iter().enumerate() {
                        // The kernel hands a filter the 32 bits that such a program has.
                        let wide = arch & 0x8000_0000 != 0;
                        let arguments = arguments.map(|argument| if wide { argument } else { argument & 0xffff_ffff });
                        let expected = expected[if expected.len() == 1 { 0 } else { index }];
                        let call = Call { number: number as u32, arch, arguments };
                        let outcome = run(program, &call);
                        assert_eq!(u64::from(outcome.verdict), expected, "{call:x?} of {name}");
                        compared += 1;
                    }
                }
            }
            other => panic!("line {other}"),
        }
    }
    assert!(compared > 100_000, "only {compared} calls were compared");
}

#[test]
fn the_default_profile_is_short_and_quick_to_run() {
    let program = default_program(Machine::X86_64, &[]);
    assert!(program.len() / 8 < 400, "{} instructions", program.len() / 8);
    for (name, _) in [("read", ()), ("write", ()), ("futex", ()), ("execve", ()), ("close_range", ())] {
        let number = Abi::X86_64.number(name).unwrap();
        let Outcome { steps, verdict } = run(&program, &Call { number, arch: 0xc000_003e, arguments: [0; 6] });
        assert_eq!(verdict, ALLOW);
        assert!(steps <= 12, "{name} takes {steps} instructions");
    }
}

#[test]
fn the_default_profile_makes_sockets_of_five_families_only() {
    for machine in [Machine::X86_64, Machine::Aarch64] {
        let program = default_program(machine, &[]);
        let all = program_with_every_capability(machine);
        for family in 0..64_u64 {
            let expected = if [1, 2, 10, 16, 17].contains(&family) { ALLOW } else { EPERM };
            // The kernel reads an int: high bits change nothing for it, and so must not here.
            for family in [family, family | 1 << 32, family | 0xffff_ffff << 32] {
                assert_eq!(verdict(&program, machine.native(), "socket", &[family]), expected, "family {family:#x}");
                assert_eq!(verdict(&all, machine.native(), "socket", &[family]), expected, "family {family:#x}");
            }
        }
    }
}

fn program_with_every_capability(machine: Machine) -> Vec<u8> {
    program(&Profile::default(), machine, CapabilitySet::ALL)
}

#[test]
fn the_default_profile_lets_nobody_type_into_a_terminal() {
    for machine in [Machine::X86_64, Machine::Aarch64] {
        for program in [default_program(machine, &[]), program_with_every_capability(machine)] {
            let ioctl = |request: u64| verdict(&program, machine.native(), "ioctl", &[0, request]);
            for (request, expected) in [(0x5412, EPERM), (0x541c, EPERM), (0x5413, ALLOW), (0x5401, ALLOW), (0, ALLOW)]
            {
                for high in [0, 1 << 32, 0xffff_ffff << 32] {
                    assert_eq!(ioctl(request | high), expected, "{:#x}", request | high);
                }
            }
        }
    }
}

#[test]
fn the_default_profile_denies_the_32_bit_abis_and_kills_foreign_ones() {
    for (machine, denied) in [
        (Machine::X86_64, [(0x4000_0003, 0), (0xc000_003e, X32_BIT)].as_slice()),
        (Machine::Aarch64, [(0x4000_0028, 0)].as_slice()),
    ] {
        let program = program_with_every_capability(machine);
        for (arch, start) in denied {
            for number in (0..600).chain([102, 0xf_0005, 0x3fff_ffff]) {
                let call = Call { number: start | number, arch: *arch, arguments: [0; 6] };
                assert_eq!(run(&program, &call).verdict, EPERM, "{call:x?}");
            }
        }
        let foreign = Call { number: 0, arch: 0x8000_0016, arguments: [0; 6] };
        assert_eq!(run(&program, &foreign).verdict, KILL_THREAD);
        // A tracer that skips a call is not an x32 program.
        let skipped = Call { number: u32::MAX, arch: Abi::X86_64.audit_arch(), arguments: [0; 6] };
        assert_ne!(run(&default_program(Machine::X86_64, &[]), &skipped).verdict, KILL_THREAD);
    }
}

#[test]
fn capabilities_open_what_docker_opens_with_them() {
    let plain = default_program(Machine::X86_64, &[]);
    let admin = default_program(Machine::X86_64, &["CAP_SYS_ADMIN"]);
    let boot = default_program(Machine::X86_64, &["CAP_SYS_BOOT"]);
    let ask = |program: &[u8], name: &str, arguments: &[u64]| verdict(program, Abi::X86_64, name, arguments);
    const NEW_USER: u64 = 0x1000_0000;
    assert_eq!(ask(&plain, "clone3", &[]), ENOSYS);
    assert_eq!(ask(&admin, "clone3", &[]), ALLOW);
    assert_eq!(ask(&plain, "clone", &[17]), ALLOW);
    assert_eq!(ask(&plain, "clone", &[17 | NEW_USER]), EPERM);
    assert_eq!(ask(&admin, "clone", &[17 | NEW_USER]), ALLOW);
    assert_eq!(ask(&plain, "unshare", &[NEW_USER]), EPERM);
    assert_eq!(ask(&plain, "mount", &[]), EPERM);
    assert_eq!(ask(&admin, "mount", &[]), ALLOW);
    assert_eq!(ask(&plain, "reboot", &[]), EPERM);
    assert_eq!(ask(&boot, "reboot", &[]), ALLOW);
    // SYS_CHROOT is among the defaults.
    assert_eq!(ask(&plain, "chroot", &[]), ALLOW);
    for denied in ["io_uring_setup", "userfaultfd", "keyctl", "kexec_load", "open_by_handle_at", "bpf"] {
        assert_eq!(ask(&plain, denied, &[]), EPERM, "{denied}");
    }
}

#[test]
fn calls_newer_than_the_profile_do_not_exist() {
    let program = default_program(Machine::X86_64, &[]);
    let ask = |number| run(&program, &Call { number, arch: 0xc000_003e, arguments: [0; 6] }).verdict;
    // removexattrat is the newest that the profile names; 400 lies in a hole of x86-64's table.
    assert_eq!(ask(466), ALLOW);
    assert_eq!([467, 470, 1000, 0x3fff_ffff].map(ask), [ENOSYS; 4]);
    assert_eq!(ask(400), EPERM);
    let deny_list =
        program_of(r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"read","action":"SCMP_ACT_KILL"}]}"#);
    let ask = |number| run(&deny_list, &Call { number, arch: 0xc000_003e, arguments: [0; 6] }).verdict;
    assert_eq!([0, 1, 1000].map(ask), [KILL_THREAD, ALLOW, ALLOW]);
}

fn program_of(json: &str) -> Vec<u8> {
    program(&parse(json), Machine::X86_64, CapabilitySet::EMPTY)
}

#[test]
fn a_restriction_of_sockets_holds_on_the_way_through_socketcall() {
    let rules = |action: &str, other: &str| {
        format!(
            r#"{{"defaultAction":"{other}","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"],"syscalls":[
                {{"names":["socket"],"action":"{action}","args":[{{"index":0,"value":38,"op":"SCMP_CMP_EQ"}}]}},
                {{"names":["msgget"],"action":"{action}"}}]}}"#
        )
    };
    let deny = program_of(&rules("SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"));
    let allow = program_of(&rules("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"));
    let ask = |program: &[u8], name: &str, selector| verdict(program, Abi::I386, name, &[selector]);
    // A filter cannot see the family: any socket(2) is denied by the one, none allowed by the other.
    assert_eq!([ask(&deny, "socketcall", 1), ask(&deny, "socketcall", 2)], [EPERM, ALLOW]);
    assert_eq!([ask(&allow, "socketcall", 1), ask(&allow, "socketcall", 2)], [EPERM, EPERM]);
    assert_eq!([ask(&deny, "ipc", 13), ask(&deny, "ipc", 0x1_000d), ask(&deny, "ipc", 14)], [EPERM, EPERM, ALLOW]);
    assert_eq!([ask(&allow, "ipc", 13), ask(&allow, "ipc", 14)], [ALLOW, EPERM]);
}

#[test]
fn of_overlapping_conditions_the_harshest_wins_in_any_order() {
    let rule = |action: &str, op: &str, value: u32| {
        format!(r#"{{"name":"socket","action":"{action}","args":[{{"index":0,"value":{value},"op":"{op}"}}]}}"#)
    };
    let allow = rule("SCMP_ACT_ALLOW", "SCMP_CMP_GT", 30);
    let kill = rule("SCMP_ACT_KILL_PROCESS", "SCMP_CMP_EQ", 38);
    for rules in [format!("{allow},{kill}"), format!("{kill},{allow}")] {
        let program = program_of(&format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{rules}]}}"#));
        let ask = |family| verdict(&program, Abi::X86_64, "socket", &[family]);
        assert_eq!([ask(38), ask(39), ask(30)], [0x8000_0000, ALLOW, EPERM]);
    }
}

#[test]
fn broken_profiles_are_refused_with_a_sentence_that_names_what_is_wrong() {
    for (json, message) in [
        ("", "decoding seccomp profile failed"),
        ("/etc/profile.json", "decoding seccomp profile failed"),
        ("[1]", "decoding seccomp profile failed"),
        ("{}", "string  is not a valid action for seccomp"),
        (r#"{"defaultAction":"SCMP_ACT_MAYBE"}"#, "string SCMP_ACT_MAYBE is not a valid action for seccomp"),
        (r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#, "SCMP_ACT_NOTIFY is not supported in a seccomp profile"),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/x"}"#,
            "listenerPath is not supported in a seccomp profile",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":4096}"#,
            "errnoRet 4096 in the seccomp profile is larger than 4095",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_VAX"]}"#,
            "string SCMP_ARCH_VAX is not a valid arch for seccomp",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86"}]}"#,
            "both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or 'archMap'",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","names":["b"],"action":"SCMP_ACT_KILL"}]}"#,
            "both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","action":"SCMP_ACT_KILL","args":[{"index":0,"op":"SCMP_CMP_LIKE"}]}]}"#,
            "string SCMP_CMP_LIKE is not a valid operator for seccomp",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","action":"SCMP_ACT_KILL","args":[{"index":6,"op":"SCMP_CMP_EQ"}]}]}"#,
            "invalid argument index 6 in the seccomp profile, a system call has arguments 0 to 5",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","action":"SCMP_ACT_KILL","includes":{"minKernel":"new"}}]}"#,
            "invalid kernel version \"new\" in the seccomp profile, expected '<version>.<major>'",
        ),
    ] {
        assert_eq!(Profile::parse(json).map(|_| json).map_err(|error| error.to_string()), Err(message.to_owned()));
    }
}

#[test]
fn nulls_comments_and_unknown_keys_are_ignored() {
    let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":null,"archMap":null,"flags":["SECCOMP_FILTER_FLAG_LOG"],"x":1,
        "syscalls":[{"names":["read"],"name":"","action":"SCMP_ACT_KILL","args":null,"comment":"c","includes":null,"excludes":{}}]}"#;
    assert_eq!(verdict(&program_of(profile), Abi::X86_64, "read", &[]), KILL_THREAD);
}

#[test]
fn a_profile_that_makes_too_long_a_program_is_refused() {
    let rules: Vec<String> = (0..2000)
        .map(|value| format!(r#"{{"name":"read","action":"SCMP_ACT_KILL","args":[{{"index":0,"value":{value},"op":"SCMP_CMP_EQ"}}]}}"#))
        .collect();
    let json = format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{}]}}"#, rules.join(","));
    let error = Compiler::default().program(&parse(&json), CapabilitySet::EMPTY, KERNEL).unwrap_err();
    assert!(matches!(error, Error::TooLong(length) if length > 4096), "{error}");
}

#[test]
fn programs_are_shared_between_containers_for_which_they_are_the_same() {
    let compiler = Compiler::default();
    let default = CapabilitySet::DOCKER_DEFAULT;
    let add = |name| default.union(Capability::from_name(name).into_iter().collect());
    let first = compiler.program(&Profile::default(), default, KERNEL).unwrap();
    assert!(Arc::ptr_eq(&first, &compiler.program(&Profile::default(), default, KERNEL).unwrap()));
    // No rule asks for NET_ADMIN.
    assert!(Arc::ptr_eq(&first, &compiler.program(&Profile::default(), add("CAP_NET_ADMIN"), KERNEL).unwrap()));
    assert_ne!(first, compiler.program(&Profile::default(), add("CAP_SYS_ADMIN"), KERNEL).unwrap());
    assert_ne!(first, compiler.program(&Profile::default(), default, (4, 7)).unwrap());
    // Docker's file is the same text without the deltas.
    assert_ne!(first, compiler.program(&parse(STOCK), default, KERNEL).unwrap());
    assert_eq!(STANDARD.decode(first.base64.as_bytes()).unwrap(), first.bytes);
    for value in 0..2 * CACHED_PROGRAMS as u32 {
        compiler.program(&Profile::default(), default, (7, value)).unwrap();
    }
    assert!(compiler.programs.lock().unwrap().len() <= CACHED_PROGRAMS);
}

/// Reads the policy the plain way: no ranges, no halves, no jumps.
fn naive(policy: &Policy, call: &Call) -> u32 {
    let x32 = call.arch == Abi::X32.audit_arch() && call.number >= X32_BIT;
    let x86 = policy.tables.iter().any(|table| table.abi == Abi::X86_64);
    if x86 && call.arch == Abi::X86_64.audit_arch() && call.number == u32::MAX {
        return policy.default.value();
    }
    let is_it = |abi: Abi| abi.audit_arch() == call.arch && (abi == Abi::X32) == x32;
    let Some(table) = policy.tables.iter().find(|table| is_it(table.abi)) else {
        let denied = policy.denied.iter().any(|abi| is_it(*abi));
        return if denied { EPERM } else { policy.foreign.value() };
    };
    let Some(decision) = table.decisions.get(&call.number) else {
        return if call.number > table.newest { policy.newer.value() } else { policy.default.value() };
    };
    let holds = |condition: &Condition| {
        let argument = call.arguments[usize::from(condition.index)] & condition.mask;
        match condition.comparison {
            Comparison::Ne => argument != condition.value,
            Comparison::Lt => argument < condition.value,
            Comparison::Le => argument <= condition.value,
            Comparison::Eq => argument == condition.value,
            Comparison::Ge => argument >= condition.value,
            Comparison::Gt => argument > condition.value,
        }
    };
    let branch = decision.branches.iter().find(|branch| branch.conditions.iter().all(holds));
    branch.map_or(decision.otherwise, |branch| branch.action).value()
}

/// Values near each other and near the border between the halves, so that comparisons come out both ways.
fn value() -> impl Strategy<Value = u64> {
    let near =
        prop_oneof![Just(0_u64), Just(1 << 32), Just(u64::MAX), Just(u64::from(u32::MAX)), Just(1 << 63), any::<u64>()];
    (near, 0..4_u64).prop_map(|(base, offset)| base.wrapping_add(offset))
}

/// A profile with random rules for a few calls, so that several meet.
fn profile_json() -> impl Strategy<Value = String> {
    const ACTIONS: [&str; 7] = ["KILL", "KILL_PROCESS", "TRAP", "ERRNO", "TRACE", "LOG", "ALLOW"];
    const OPERATORS: [&str; 7] = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
    let name =
        prop::sample::select(vec!["read", "socket", "semop", "chown32", "listns", "execve", "pwritev2", "set_tls"]);
    let argument =
        (0..6_u8, prop::sample::select(OPERATORS.to_vec()), value(), value()).prop_map(|(index, op, one, two)| {
            format!(r#"{{"index":{index},"value":{one},"valueTwo":{two},"op":"SCMP_CMP_{op}"}}"#)
        });
    let action = prop::sample::select(ACTIONS.to_vec());
    let rule = (prop::collection::vec(name, 1..4), action.clone(), 0..4096_u32, prop::collection::vec(argument, 0..4));
    let rule = rule.prop_map(|(names, action, errno, arguments)| {
        let arguments = arguments.join(",");
        format!(r#"{{"names":{names:?},"action":"SCMP_ACT_{action}","errnoRet":{errno},"args":[{arguments}]}}"#)
    });
    let abis = prop::sample::subsequence(vec!["X86_64", "X86", "X32", "AARCH64", "ARM"], 0..=5);
    (action, abis, prop::collection::vec(rule, 0..40)).prop_map(|(default, abis, rules)| {
        let abis: Vec<String> = abis.iter().map(|abi| format!("SCMP_ARCH_{abi}")).collect();
        let rules = rules.join(",");
        format!(r#"{{"defaultAction":"SCMP_ACT_{default}","architectures":{abis:?},"syscalls":[{rules}]}}"#)
    })
}

fn call() -> impl Strategy<Value = Call> {
    let arch = prop_oneof![
        prop::sample::select(Abi::EVERY.map(Abi::audit_arch).to_vec()),
        prop_oneof![Just(0x8000_0016_u32), any::<u32>()]
    ];
    let known = prop::sample::select(vec![
        "read",
        "socket",
        "semop",
        "socketcall",
        "ipc",
        "chown32",
        "listns",
        "execve",
        "pwritev2",
    ]);
    let number = prop_oneof![
        4 => (prop::sample::select(Abi::EVERY.to_vec()), known)
            .prop_map(|(abi, name)| abi.number(name).unwrap_or(u32::MAX)),
        1 => 0..600_u32,
        1 => (0..600_u32).prop_map(|number| number | X32_BIT),
        1 => any::<u32>(),
    ];
    (number, arch, prop::array::uniform6(value())).prop_map(|(number, arch, arguments)| Call {
        number,
        arch,
        arguments,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn programs_say_what_their_policy_says(json in profile_json(), calls in prop::collection::vec(call(), 200)) {
        let profile = parse(&json);
        for machine in [Machine::X86_64, Machine::Aarch64] {
            let policy = policy(&profile, machine, CapabilitySet::EMPTY);
            let Ok(program) = Program::new(&assemble(&policy)) else { continue };
            for call in &calls {
                prop_assert_eq!(run(&program.bytes, call).verdict, naive(&policy, call), "{:x?} on {:?}", call, machine);
            }
        }
    }

    #[test]
    fn the_default_program_says_what_its_policy_says(calls in prop::collection::vec(call(), 400), bits: u64) {
        let mut capabilities = CapabilitySet::EMPTY;
        for capability in CapabilitySet::ALL.iter().filter(|it| bits >> it.number() & 1 == 1) {
            capabilities.insert(capability);
        }
        for machine in [Machine::X86_64, Machine::Aarch64] {
            let policy = policy(&Profile::default(), machine, capabilities);
            let program = Program::new(&assemble(&policy)).unwrap().bytes;
            for call in &calls {
                prop_assert_eq!(run(&program, call).verdict, naive(&policy, call), "{:x?} on {:?}", call, machine);
            }
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,40}") {
        prop_assert!(Profile::parse(&text).is_err());
    }
}

#[test]
fn severity_is_the_kernels_order() {
    let rule = |action: &str| {
        format!(r#"{{"name":"read","action":"SCMP_ACT_{action}","args":[{{"index":0,"value":0,"op":"SCMP_CMP_EQ"}}]}}"#)
    };
    let order = ["KILL_PROCESS", "KILL", "TRAP", "ERRNO", "TRACE", "LOG"];
    for pair in order.windows(2) {
        let rules = [rule(pair[1]), rule(pair[0])].join(",");
        let json = format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{rules}]}}"#);
        let alone = format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{}]}}"#, rule(pair[0]));
        let ask = |json: &str| verdict(&program_of(json), Abi::X86_64, "read", &[0]);
        assert_eq!(ask(&json), ask(&alone), "{pair:?}");
    }
    assert_eq!(Action::KILL_PROCESS.value(), 0x8000_0000);
}
