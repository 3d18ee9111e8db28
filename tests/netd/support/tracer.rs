//! What a debugger can do to a process (ptrace(2)): hold one thread of it, or
//! make it exit.

#![expect(unsafe_code, reason = "ptrace has no safe form")]

use std::{
    io, ptr,
    sync::mpsc::{self, RecvTimeoutError},
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::errno::Errno;

use super::{clock::eventually, proc::Process};

fn request(request: libc::c_uint, process: Process, data: *mut libc::c_void) -> io::Result<()> {
    // SAFETY: the callers below pass numbers, or a pointer to a structure of the kind that the request wants.
    let result = unsafe { libc::ptrace(request, process.0, ptr::null_mut::<libc::c_void>(), data) };
    Ok(Errno::result(result).map(drop)?)
}

/// What has become of a traced thread; `None`: nothing new.
fn news(process: Process) -> Option<libc::c_int> {
    let mut status = 0;
    // SAFETY: the status lives through the call.
    let result = unsafe { libc::waitpid(process.0, &raw mut status, libc::__WALL | libc::WNOHANG) };
    (result == process.0).then_some(status)
}

fn seize(process: Process) {
    request(libc::PTRACE_SEIZE, process, ptr::null_mut()).expect("PTRACE_SEIZE");
    request(libc::PTRACE_INTERRUPT, process, ptr::null_mut()).expect("PTRACE_INTERRUPT");
    eventually("it stops", || news(process).filter(|&status| libc::WIFSTOPPED(status)));
}

/// The first thread of a process hangs until this is dropped; the others run.
#[derive(Debug)]
pub(crate) struct Hanging {
    release: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Hanging {
    pub(crate) fn from_now(process: Process) -> Self {
        let (release, released) = mpsc::channel::<()>();
        let (held, holds) = mpsc::channel();
        let thread = thread::spawn(move || {
            seize(process);
            let _ = held.send(());
            loop {
                match released.recv_timeout(Duration::from_millis(10)) {
                    Err(RecvTimeoutError::Timeout) => {}
                    // It may be gone.
                    _ => return drop(request(libc::PTRACE_DETACH, process, ptr::null_mut())),
                }
                // Whoever killed it waits for its end, which comes here first.
                if news(process).is_some_and(|status| libc::WIFEXITED(status) || libc::WIFSIGNALED(status)) {
                    return;
                }
            }
        });
        holds.recv().expect("it hangs");
        Self { release: Some(release), thread: Some(thread) }
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.release = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Makes a process that waits in the kernel call exit(3) there.
#[cfg(target_arch = "x86_64")]
pub(crate) fn exit_with_3(process: Process) {
    // SAFETY: an all-zero register set is valid; it is filled in by the kernel.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    let data = (&raw mut registers).cast();
    // It may be met on its way to where it waits.
    eventually("it waits in the kernel", || {
        seize(process);
        request(libc::PTRACE_GETREGS, process, data).expect("PTRACE_GETREGS");
        if i64::from_ne_bytes(registers.orig_rax.to_ne_bytes()) >= 0 {
            return Some(());
        }
        request(libc::PTRACE_DETACH, process, ptr::null_mut()).expect("PTRACE_DETACH");
        None
    });
    // The instruction that it came in by, once more; it is 2 bytes long.
    registers.rip -= 2;
    registers.rax = libc::SYS_exit_group as u64;
    registers.orig_rax = u64::MAX;
    registers.rdi = 3;
    request(libc::PTRACE_SETREGS, process, (&raw mut registers).cast()).expect("PTRACE_SETREGS");
    request(libc::PTRACE_DETACH, process, ptr::null_mut()).expect("PTRACE_DETACH");
}
