//! The allow-list against a direct reading of the rules, and the program against the allow-list.

use super::*;

fn rule(allow: bool, typ: LinuxDeviceType, major: i64, minor: i64, access: &str) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow).set_typ(Some(typ)).set_major(Some(major)).set_minor(Some(minor));
    rule.set_access(Some(access.to_owned()));
    rule
}

fn deny_all() -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_access(Some("rwm".to_owned()));
    rule
}

/// Executes a device program on one access, as far as `program.rs` uses instructions.
fn interpret(program: &[Instruction], is_block: bool, major: u32, minor: u32, access: &str) -> bool {
    let mut wanted = 0u32;
    for letter in access.chars() {
        wanted |= match letter {
            'm' => 1,
            'r' => 2,
            _ => 4,
        };
    }
    let context = [wanted << 16 | if is_block { 1 } else { 2 }, major, minor];
    let mut registers = [0u32; 11];
    let mut at = 0usize;
    loop {
        let Instruction { code, registers: pair, offset, immediate } = program[at];
        let (to, from) = ((pair & 15) as usize, (pair >> 4) as usize);
        at += 1;
        match code {
            0x61 => registers[to] = context[offset as usize / 4],
            0xbc => registers[to] = registers[from],
            0xb4 => registers[to] = immediate as u32,
            0x54 => registers[to] &= immediate as u32,
            0x74 => registers[to] >>= immediate,
            0x16 if registers[to] == immediate as u32 => at += offset as usize,
            0x56 if registers[to] != immediate as u32 => at += offset as usize,
            0x16 | 0x56 => {}
            0x95 => return registers[0] == 1,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

#[test]
fn a_plain_container_has_the_default_devices_and_no_other() {
    let list = Allowlist::plan(&[deny_all()]).unwrap();
    for (is_block, major, minor, access, expected) in [
        (false, 1, 3, "rw", true),
        (false, 1, 9, "r", true),
        (false, 5, 2, "rw", true),
        (false, 136, 77, "rw", true),
        (true, 8, 0, "m", true),
        (false, 10, 229, "m", true),
        (true, 8, 0, "r", false),
        (false, 1, 1, "r", false),
        (false, 1, 11, "w", false),
        (false, 10, 229, "rw", false),
        (true, 1, 3, "r", false),
    ] {
        assert_eq!(list.allows(is_block, major, minor, access), expected, "{major}:{minor} {access}");
    }
    assert_eq!(list, Allowlist::plan(&[]).unwrap(), "nothing is allowed before the first rule");
    let lines = list.v1_lines();
    assert_eq!(lines[0], ("devices.deny", "a".to_owned()));
    assert!(lines.contains(&("devices.allow", "c 136:* rwm".to_owned())));
    assert_eq!(lines.len(), 11);
}

#[test]
fn privileged_is_one_line_and_no_program() {
    let mut all = deny_all();
    all.set_allow(true);
    let list = Allowlist::plan(&[deny_all(), rule(true, LinuxDeviceType::C, 10, 200, "rw"), all]).unwrap();
    assert_eq!(list.v1_lines(), [("devices.allow", "a".to_owned())]);
    assert_eq!(list.v2_program(), None);
}

#[test]
fn the_last_word_wins_and_splitting_is_refused() {
    let tun = |allow| rule(allow, LinuxDeviceType::C, 10, 200, "rw");
    let list = Allowlist::plan(&[tun(true), tun(false)]).unwrap();
    assert!(!list.allows(false, 10, 200, "r"));
    let every = |allow| rule(allow, LinuxDeviceType::C, 10, -1, "rw");
    assert!(!Allowlist::plan(&[tun(true), every(false)]).unwrap().allows(false, 10, 200, "r"));
    let error = Allowlist::plan(&[every(true), tun(false)]).unwrap_err();
    assert!(matches!(error, DeviceRuleError::Split { .. }), "{error}");
    assert!(Allowlist::plan(&[rule(true, LinuxDeviceType::P, 1, 1, "r")]).is_err());
    assert!(Allowlist::plan(&[rule(true, LinuxDeviceType::C, 1, 1, "x")]).is_err());
    assert!(Allowlist::plan(&[rule(true, LinuxDeviceType::C, 1 << 40, 1, "r")]).is_err());
}

#[test]
fn the_program_says_what_the_list_says() {
    let mut all = deny_all();
    all.set_allow(true);
    let lists = [
        vec![],
        vec![rule(true, LinuxDeviceType::B, 8, -1, "r"), rule(true, LinuxDeviceType::C, 10, 200, "rwm")],
        vec![all, rule(false, LinuxDeviceType::B, 8, -1, "w"), rule(false, LinuxDeviceType::C, 1, 1, "rw")],
    ];
    for rules in lists {
        let list = Allowlist::plan(&rules).unwrap();
        let program = list.v2_program().unwrap();
        for is_block in [false, true] {
            for major in [0, 1, 5, 8, 10, 136, u32::MAX] {
                for minor in [0, 1, 2, 3, 200] {
                    for access in ["r", "w", "m", "rw", "rwm"] {
                        assert_eq!(
                            interpret(&program, is_block, major, minor, access),
                            list.allows(is_block, major, minor, access),
                            "{rules:?} {is_block} {major}:{minor} {access}"
                        );
                    }
                }
            }
        }
    }
}
