use std::{
    os::unix::process::{CommandExt as _, parent_id},
    process::{Child, Command, Stdio},
};

use super::*;

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

/// A process that does nothing, killed at the end of the test.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> Self {
        let sleeper = Self(Command::new("sleep").arg("60").spawn().unwrap());
        sleeper.wait_for("sleep");
        sleeper
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits until it runs the program of this name, and is past its loader.
    fn wait_for(&self, comm: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Stat::read(self.pid()).unwrap().comm != comm
            || !fs::read_to_string(format!("/proc/{}/syscall", self.pid()))
                .is_ok_and(|call| call.contains(' '))
        {
            assert!(Instant::now() < deadline, "{comm} does not start");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn end(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

fn forget_check(processes: &Processes, pid: u32) {
    let long_ago = Instant::now().checked_sub(TRUSTED_FOR).unwrap();
    lock(&processes.known).get(&pid).unwrap().checked = long_ago;
}

#[test]
fn a_process_is_known_while_it_runs_and_after() {
    let mut sleeper = Sleeper::start();
    let processes = Processes::numbered(true);
    let alive = processes.at(sleeper.pid(), now(), None).unwrap();
    assert_eq!(alive.comm, "sleep");
    let executable = alive.executable.as_ref().unwrap();
    assert!(executable.is_absolute() && executable.is_file(), "{executable:?}");
    let own = Ancestor { pid: std::process::id(), comm: Stat::read(std::process::id()).unwrap().comm };
    assert_eq!(alive.ancestry.first(), Some(&own));
    assert!(alive.ancestry.iter().any(|ancestor| ancestor.pid == parent_id()), "{:?}", alive.ancestry);
    assert!(alive.maps(&[]).iter().any(|mapping| &*mapping.name == executable));

    sleeper.end();
    forget_check(&processes, sleeper.pid());
    let gone = processes.at(sleeper.pid(), now(), None).unwrap();
    assert!(Arc::ptr_eq(&alive, &gone));
    lock(&gone.maps).read = Instant::now().checked_sub(MAPS_AGAIN_AFTER);
    assert!(!gone.maps(&[0x1234]).is_empty(), "its mappings went with it");
    assert!(Processes::numbered(true).at(sleeper.pid(), now(), None).is_none(), "nobody had seen it");
}

#[test]
fn a_zombie_is_still_what_it_was() {
    let mut sleeper = Sleeper::start();
    let processes = Processes::numbered(true);
    let alive = processes.at(sleeper.pid(), now(), None).unwrap();
    sleeper.0.kill().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while fs::read_link(format!("/proc/{}/exe", sleeper.pid())).is_ok() {
        assert!(Instant::now() < deadline, "it does not die");
    }
    forget_check(&processes, sleeper.pid());
    assert!(Arc::ptr_eq(&alive, &processes.at(sleeper.pid(), now(), None).unwrap()));
    sleeper.end();
}

#[test]
fn exec_makes_another_program_of_it() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "read go; exec sleep 60"]).stdin(Stdio::piped());
    let mut sleeper = Sleeper(shell.spawn().unwrap());
    sleeper.wait_for("sh");
    let processes = Processes::numbered(true);
    let before = processes.at(sleeper.pid(), now(), None).unwrap();
    // Closing its input lets the shell go on.
    drop(sleeper.0.stdin.take());
    sleeper.wait_for("sleep");
    forget_check(&processes, sleeper.pid());
    let after = processes.at(sleeper.pid(), now(), None).unwrap();
    assert_eq!((before.comm.as_str(), after.comm.as_str()), ("sh", "sleep"));
    assert_ne!(before.executable, after.executable);
    assert_eq!(before.identity.start_ticks, after.identity.start_ticks);
}

#[test]
fn code_of_a_process_that_had_the_same_id_hides_nobody() {
    let code = Code::new(Path::new("/bin/any"), ((0, 0), 0), (0x1000, 0x2000), &[]);
    // Longer than clocks differ by.
    std::thread::sleep(Duration::from_nanos(2 * START_TOLERANCE_NS));
    let mut shell = Command::new("sh");
    let sleeper = Sleeper(shell.args(["-c", "exec sleep 60"]).spawn().unwrap());
    let process = Processes::numbered(true).at(sleeper.pid(), now(), Some(&code)).unwrap();
    assert!(!process.may_own(&code), "it was there before");
    let own = Code::new(Path::new("/bin/any"), ((0, 0), 0), (0x1000, 0x2000), &[]);
    assert!(process.may_own(&own));
}

#[test]
fn who_ran_another_program_is_not_taken_for_the_caller() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "read go; exec sleep 60"]).stdin(Stdio::piped());
    let mut sleeper = Sleeper(shell.spawn().unwrap());
    sleeper.wait_for("sh");
    let code = |sleeper: &Sleeper| {
        Code::new(Path::new("/bin/any"), ((0, 0), 0), Stat::read(sleeper.pid()).unwrap().code, &[])
    };
    let shell = code(&sleeper);
    let (processes, pid) = (Processes::numbered(true), sleeper.pid());
    let comm = |code| processes.at(pid, now(), Some(code)).map(|process| process.comm.clone());
    assert_eq!(comm(&shell).as_deref(), Some("sh"));
    drop(sleeper.0.stdin.take());
    sleeper.wait_for("sleep");
    let sleep = code(&sleeper);
    assert!(!processes.is_known(sleeper.pid(), now(), Some(&sleep)), "the shell was looked at just now");
    assert_eq!(comm(&sleep).as_deref(), Some("sleep"));
    assert_eq!(comm(&shell), None, "it runs something else by now");
    sleeper.end();
    forget_check(&processes, sleeper.pid());
    assert_eq!((comm(&sleep).as_deref(), comm(&shell)), (Some("sleep"), None));
}

#[test]
fn a_process_that_came_later_is_not_taken_for_the_caller() {
    let before = now() - 1_000_000_000;
    let sleeper = Sleeper::start();
    let processes = Processes::numbered(true);
    assert!(processes.at(sleeper.pid(), before, None).is_none());
    assert!(processes.at(sleeper.pid(), now(), None).is_some());
    assert!(processes.at(sleeper.pid(), before, None).is_none(), "now that it is known");
}

#[test]
fn other_pid_numbers_are_not_looked_up() {
    assert!(Processes::numbered(false).at(std::process::id(), now(), None).is_none());
}

#[test]
fn ancestry_is_bounded_and_ends_at_process_1() {
    // Each shell starts the next, and the last one writes its parents down by waiting for its input to end.
    let nest = "if [ $0 -gt 0 ]; then sh -c \"$1\" $(($0 - 1)) \"$1\"; else echo $$; read end; fi; :";
    let mut outermost = Command::new("sh");
    outermost.args(["-c", nest, "10", nest]).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
    let mut outermost = Sleeper(outermost.spawn().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(outermost.0.stdout.take().unwrap()), &mut line)
        .unwrap();
    let innermost: u32 = line.trim().parse().unwrap();
    let deep = ancestry(&Stat::read(innermost).unwrap());
    assert_eq!(deep.len(), MAX_ANCESTORS);
    assert!(deep.iter().all(|ancestor| ancestor.comm == "sh"), "{deep:?}");
    drop(outermost.0.stdin.take());

    assert!(ancestry(&Stat::read(1).unwrap()).is_empty());
    let own = ancestry(&Stat::read(std::process::id()).unwrap());
    assert!(own.len() == MAX_ANCESTORS || own.last().unwrap().pid == 1, "{own:?}");
}

#[test]
fn libraries_loaded_later_are_found() {
    let sleeper = Sleeper::start();
    let processes = Processes::numbered(true);
    let process = processes.at(sleeper.pid(), now(), None).unwrap();
    let code = process.maps(&[]).iter().next().unwrap().start;
    lock(&process.maps).maps = Arc::default();
    assert!(process.maps(&[code]).find(code).is_none(), "read again at once");
    lock(&process.maps).read = Instant::now().checked_sub(MAPS_AGAIN_AFTER);
    assert!(process.maps(&[code]).find(code).is_some());
}

#[test]
fn cgroups_of_both_versions_tell_the_container() {
    let id = "3f4e8c0d9b1a27655e8f0c1b2a3d4e5f60718293a4b5c6d7e8f9012345678abc";
    for (cgroups, container, unit) in [
        (format!("0::/system.slice/docker-{id}.scope\n"), true, None),
        (format!("9:name=systemd:/\n4:memory:/docker/{id}\n0::/\n"), true, None),
        ("4:memory:/\n0::/system.slice/ssh.service\n".into(), false, Some("ssh.service")),
        ("1:cpu:/a:b\n".into(), false, None),
        ("0:\n:\n\n0".into(), false, None),
    ] {
        let workload = workload(&cgroups);
        assert_eq!(workload.container.is_some_and(|found| found.id == id), container, "{cgroups}");
        assert_eq!(workload.unit.as_deref(), unit, "{cgroups}");
    }
}
