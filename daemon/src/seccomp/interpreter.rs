//! A classic BPF machine for tests, written from the kernel's description and not from the assembler.

/// What a filter sees of a call: `struct seccomp_data`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) number: u32,
    pub(super) arch: u32,
    pub(super) arguments: [u64; 6],
}

impl Call {
    fn bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[0..4].copy_from_slice(&self.number.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.arch.to_le_bytes());
        for (index, argument) in self.arguments.iter().enumerate() {
            bytes[16 + 8 * index..][..8].copy_from_slice(&argument.to_le_bytes());
        }
        bytes
    }
}

/// What a program came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) verdict: u32,
    pub(super) steps: usize,
}

/// Runs a program of `struct sock_filter`s; panics where the kernel would not have accepted it.
pub(super) fn run(program: &[u8], call: &Call) -> Outcome {
    let data = call.bytes();
    let (instructions, rest) = program.as_chunks::<8>();
    assert!(rest.is_empty() && !instructions.is_empty() && instructions.len() <= 4096);
    let mut accumulator = 0_u32;
    let mut position = 0;
    for steps in 1.. {
        let [c0, c1, jump_true, jump_false, k0, k1, k2, k3] = instructions[position];
        let k = u32::from_ne_bytes([k0, k1, k2, k3]);
        position += 1;
        let mut jump = |condition: bool| position += usize::from(if condition { jump_true } else { jump_false });
        match u16::from_ne_bytes([c0, c1]) {
            0x20 => {
                let offset = k as usize;
                assert!(offset.is_multiple_of(4) && offset < 64, "unaligned or foreign load at {k}");
                accumulator = u32::from_le_bytes(data[offset..offset + 4].try_into().unwrap());
            }
            0x54 => accumulator &= k,
            0x05 => position += k as usize,
            0x15 => jump(accumulator == k),
            0x25 => jump(accumulator > k),
            0x35 => jump(accumulator >= k),
            0x06 => return Outcome { verdict: k, steps },
            code => panic!("instruction {code:#x}"),
        }
    }
    unreachable!("jumps only go forward")
}
