//! Threads in the background: those that keep records step back for those that serve requests.
//!
//! Where cores are few, a batch of thousands of records would otherwise hold up every request of that moment.

/// How far they step back, in steps of niceness (sched(7)): a quarter of a busy core is left to them where requests want all of
/// it, which is enough for the records of those requests.
#[cfg(target_os = "linux")]
const STEPS: i32 = 5;

/// Makes this thread, and those it starts from now on, step back from where the process began. Only Linux has a niceness of threads;
/// elsewhere it does nothing.
pub fn step_back() {
    #[cfg(target_os = "linux")]
    if let Err(error) = stepped_back() {
        tracing::debug!(%error, "a thread in the background keeps its priority");
    }
}

#[cfg(target_os = "linux")]
fn stepped_back() -> rustix::io::Result<()> {
    use rustix::process::{getpid, getpriority_process, setpriority_process};

    // To Linux the process's id is that of its first thread, and none is that of the calling one (setpriority(2)).
    let first = getpriority_process(Some(getpid()))?;
    setpriority_process(None, (first + STEPS).min(19))
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;

    fn nice() -> i32 {
        rustix::process::getpriority_process(None).expect("a nice value")
    }

    #[test]
    fn a_thread_steps_back_with_those_it_starts_and_no_other() {
        let before = nice();
        let (own, inherited) = std::thread::spawn(|| {
            step_back();
            step_back();
            (nice(), std::thread::spawn(nice).join().expect("it ends"))
        })
        .join()
        .expect("it ends");
        let stepped = (before + STEPS).min(19);
        assert_eq!((own, inherited), (stepped, stepped));
        assert_eq!(nice(), before);
    }
}
