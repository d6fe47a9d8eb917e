//! What the helper functions do in the model. A helper that is not here is an error.

use crate::{
    helpers,
    machine::{Machine, Run},
    maps::{EINVAL, Wakeup},
    world::Mapping,
};

/// With `CONFIG_HZ=250`.
const JIFFY_NS: u64 = 4_000_000;
const EAGAIN: i64 = 11;
const EFAULT: i64 = 14;
/// Room that `bpf_get_current_comm` and the kernel's thread names have.
const COMM_LEN: usize = 16;
const BPF_F_USER_STACK: u64 = 1 << 8;
const BPF_F_USER_BUILD_ID: u64 = 1 << 11;
const BPF_F_SKIP_FIELD_MASK: u64 = 0xff;

type Done = Result<u64, String>;

fn errno(error: i64) -> u64 {
    error.cast_unsigned()
}

fn halves(upper: u32, lower: u32) -> u64 {
    u64::from(upper) << 32 | u64::from(lower)
}

fn len(value: u64) -> Result<usize, String> {
    // A negative size is what the verifier fears most.
    match u32::try_from(value) {
        Ok(value) if value <= i32::MAX.cast_unsigned() => Ok(value as usize),
        _ => Err(format!("{value:#x} is no size")),
    }
}

impl Machine {
    /// Calls a helper: arguments in r1 to r5, which are lost, the result in r0.
    pub(crate) fn call(&mut self, run: &mut Run<'_>, number: i32) -> Result<(), String> {
        let helper = helpers::by_number(number).ok_or_else(|| format!("helper {number} is not modelled"))?;
        if helper.since > self.kernel {
            return Err(format!("this kernel has no helper {}", helper.name));
        }
        self.world.called.push(number);
        let world = &self.world;
        let result = match number {
            1..=3 => self.map_element(run, number)?,
            5 | 125 => world.now_ns,
            8 => world.cpu.into(),
            14 => halves(world.task.tgid, world.task.tid),
            15 => halves(world.task.gid, world.task.uid),
            16 => self.current_comm(run)?,
            42 => 0,
            35 | 158 => world.task.address,
            67 => self.stack(run)?,
            80 => world.task.cgroup,
            118 => world.now_ns / JIFFY_NS,
            112 => self.probe_read(run, true)?,
            113 => self.probe_read(run, false)?,
            115 => self.probe_read_string(run)?,
            130 => self.ring_output(run)?,
            131 => self.ring_reserve(run)?,
            175 if run.get(1)? != world.task.address => return Err("registers of what is no task".into()),
            175 => world.task.registers,
            132 | 133 => self.ring_submit(run, number == 133)?,
            _ => return Err(format!("helper {number} is not modelled")),
        };
        run.registers[1..6].fill(None);
        run.registers[0] = Some(result);
        Ok(())
    }

    /// Position of the map whose handle a register holds.
    fn map_at(&self, run: &Run<'_>, register: u8) -> Result<usize, String> {
        let handle = run.get(register)?;
        self.maps.iter().position(|map| map.handle == handle).ok_or_else(|| format!("r{register} is no map"))
    }

    fn map_element(&mut self, run: &Run<'_>, number: i32) -> Done {
        let map = self.map_at(run, 1)?;
        if self.maps[map].is_ring() {
            return Err("a ring buffer has no elements".into());
        }
        let (key_size, value_size) =
            (self.maps[map].def.key_size as usize, self.maps[map].def.value_size as usize);
        let at = run.get(2)?;
        // Numbers are aligned by every compiler; one that is not was taken from a wrong place.
        if [4, 8].contains(&key_size) && !at.is_multiple_of(key_size as u64) {
            return Err("a number as key, and not aligned".into());
        }
        let key = self.memory.read(at, key_size)?.to_vec();
        let cpu = self.world.cpu;
        Ok(match number {
            1 => self.maps[map].lookup(&mut self.memory, &key, cpu).unwrap_or(0),
            2 if self.maps[map].forgets(&key) => {
                return Err("what a full LRU map forgets is not modelled".into());
            }
            2 => {
                let value = self.memory.read(run.get(3)?, value_size)?.to_vec();
                errno(self.maps[map].update(&mut self.memory, &key, &value, run.get(4)?, cpu))
            }
            _ => errno(self.maps[map].delete(&mut self.memory, &key)),
        })
    }

    fn current_comm(&mut self, run: &Run<'_>) -> Done {
        let (to, size) = (run.get(1)?, len(run.get(2)?)?);
        let mut name = vec![0; size];
        let copied = size.min(COMM_LEN);
        name[..copied].copy_from_slice(&self.world.task.comm[..copied]);
        self.memory.write(to, &name)?;
        Ok(0)
    }

    fn probe_read(&mut self, run: &Run<'_>, user: bool) -> Done {
        let (to, size, from) = (run.get(1)?, len(run.get(2)?)?, run.get(3)?);
        let fails = self.world.read_fails();
        let found = self.memory.probe(from, size, user)?.filter(|_| !fails).map(<[u8]>::to_vec);
        // What cannot be read is zeroed (bpf_probe_read_kernel_common; 6.18, kernel/trace/bpf_trace.c).
        let result = if found.is_some() { 0 } else { errno(-EFAULT) };
        self.memory.write(to, &found.unwrap_or_else(|| vec![0; size]))?;
        Ok(result)
    }

    /// `bpf_probe_read_kernel_str(to, size, from)`: what lies behind the zero stays as it was.
    fn probe_read_string(&mut self, run: &Run<'_>) -> Done {
        let (to, size, from) = (run.get(1)?, len(run.get(2)?)?, run.get(3)?);
        self.memory.check_writable(to, size)?;
        let fails = self.world.read_fails();
        let string = self.memory.probe_string(from, size).filter(|_| !fails);
        // Likewise zeroed (bpf_probe_read_kernel_str_common).
        let result = string.as_ref().map_or(errno(-EFAULT), |string| string.len() as u64);
        self.memory.write(to, &string.unwrap_or_else(|| vec![0; size]))?;
        Ok(result)
    }

    /// `bpf_get_stack(context, to, size, flags)`: frames, then zeros.
    fn stack(&mut self, run: &Run<'_>) -> Done {
        let (to, size, flags) = (run.get(2)?, len(run.get(3)?)?, run.get(4)?);
        self.memory.read(run.get(1)?, 1)?;
        let (user, places) = (flags & BPF_F_USER_STACK != 0, flags & BPF_F_USER_BUILD_ID != 0);
        let known = BPF_F_USER_STACK | BPF_F_USER_BUILD_ID | BPF_F_SKIP_FIELD_MASK;
        let each = if places { PLACE_LEN } else { size_of::<u64>() };
        if flags & !known != 0 || (places && !user) || !size.is_multiple_of(each) {
            return Ok(errno(-EINVAL));
        }
        let walked = if user { &self.world.user_stack } else { &self.world.kernel_stack };
        let mut bytes = vec![0; size];
        let result = match walked {
            Ok(frames) => {
                let skip = usize::try_from(flags & BPF_F_SKIP_FIELD_MASK).unwrap_or(0);
                let frames = frames.iter().skip(skip).take(size / each);
                let frames: Vec<u8> = if places {
                    frames.flat_map(|&frame| place(&self.world.mappings, frame)).collect()
                } else {
                    frames.flat_map(|frame| frame.to_le_bytes()).collect()
                };
                bytes[..frames.len()].copy_from_slice(&frames);
                frames.len() as u64
            }
            Err(error) => errno(-i64::from(*error)),
        };
        self.memory.write(to, &bytes)?;
        Ok(result)
    }

    fn ring(&self, run: &Run<'_>) -> Result<usize, String> {
        let map = self.map_at(run, 1)?;
        if self.maps[map].is_ring() { Ok(map) } else { Err("not a ring buffer".into()) }
    }

    fn ring_output(&mut self, run: &Run<'_>) -> Done {
        let map = self.ring(run)?;
        let record = self.memory.read(run.get(2)?, len(run.get(3)?)?)?.to_vec();
        let flags = wakeup_flags(run.get(4)?)?;
        let Some(room) = self.maps[map].reserve(&mut self.memory, record.len()) else {
            return Ok(errno(-EAGAIN));
        };
        self.memory.write(room, &record)?;
        self.world.wakes += usize::from(self.maps[map].wakes(flags));
        self.maps[map].submit(&mut self.memory, room, false);
        Ok(0)
    }

    fn ring_reserve(&mut self, run: &Run<'_>) -> Done {
        let map = self.ring(run)?;
        let size = len(run.get(2)?)?;
        if run.get(3)? != 0 {
            return Err("bpf_ringbuf_reserve takes no flags".into());
        }
        Ok(self.maps[map].reserve(&mut self.memory, size).unwrap_or(0))
    }

    fn ring_submit(&mut self, run: &Run<'_>, discard: bool) -> Done {
        let record = run.get(1)?;
        let flags = wakeup_flags(run.get(2)?)?;
        let memory = &mut self.memory;
        let Some(map) = self.maps.iter_mut().find(|map| map.has_reserved(record)) else {
            return Err("it submits what it did not reserve".into());
        };
        self.world.wakes += usize::from(map.wakes(flags));
        map.submit(memory, record, discard);
        Ok(0)
    }
}

/// `sizeof(struct bpf_stack_build_id)`
const PLACE_LEN: usize = 32;

/// A `struct bpf_stack_build_id`: where the frame lies in a file that has a build id, else its address
/// (stack_map_get_build_id_offset; 6.18, kernel/bpf/stackmap.c).
fn place(mappings: &[Mapping], frame: u64) -> Vec<u8> {
    let mapping = mappings.iter().find(|mapping| (mapping.start..mapping.end).contains(&frame));
    let known = mapping.and_then(|mapping| Some((mapping.build_id?, frame - mapping.start + mapping.offset)));
    let (status, build_id, at) = known.map_or((2_i32, [0; 20], frame), |(build_id, at)| (1, build_id, at));
    [&status.to_le_bytes()[..], &build_id, &at.to_le_bytes()].concat()
}

/// The kernel takes both at once as well; nobody can mean that.
fn wakeup_flags(flags: u64) -> Result<Wakeup, String> {
    match flags {
        0 => Ok(Wakeup::IfWaiting),
        1 => Ok(Wakeup::Never),
        2 => Ok(Wakeup::Always),
        _ => Err(format!("unknown flags {flags:#x}")),
    }
}
