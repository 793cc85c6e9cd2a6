//! What the log says of a wall clock that somebody sets. What that changes is in `faults`.

use std::{
    io,
    sync::{Arc, Mutex, atomic::Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tracing::Level;

use crate::{
    client::join,
    running::{Running, set_clock, until},
};

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// By how many seconds it says that the clock was set, each time.
    fn leaps(&self) -> Vec<i64> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let leaps = text.lines().filter_map(|line| {
            let by = line.split_once("the wall clock was set, by ")?.1;
            assert!(line.contains("WARN"), "{line}");
            by.strip_suffix(" seconds")?.parse().ok()
        });
        leaps.collect()
    }
}

/// By how many seconds the tickets of a server are ahead of the clock.
async fn ahead_of_tickets(server: &Running) -> f64 {
    let ticket = join(server, "/", 0, None).await.ticket;
    let expiry = i64::from_str_radix(ticket.split('.').nth(1).unwrap(), 16).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    expiry as f64 / 1000.0 - 3600.0 - now.as_secs_f64()
}

/// One thread, so that all that the server says is heard.
#[tokio::test]
async fn clock_that_is_set_has_one_line_each_time_and_one_that_drifts_has_none() {
    let log = Log::default();
    let into = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(Level::INFO)
        .with_writer(move || into.clone())
        .finish();
    // Where there is but one, `tracing` asks the thread that comes by a line first whether anybody listens
    // to it, and that may be another test's.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new());
    let _listening = tracing::subscriber::set_default(subscriber);
    let (clock, ahead) = set_clock();
    let server = Running::by(clock, &[], |_| {}).await;

    ahead.store(3, Ordering::Relaxed);
    until("the server has looked at its clock", || async {
        ahead_of_tickets(&server).await > 2.0
    })
    .await;
    assert!(log.leaps().is_empty());

    for (at, expected) in [(86_403, 86_400), (86_403 - 7_200, -7_200)] {
        let before = log.leaps().len();
        ahead.store(at, Ordering::Relaxed);
        until("it is said", || async { log.leaps().len() > before }).await;
        // It goes on looking, and has nothing more to say.
        tokio::time::sleep(Duration::from_millis(2500)).await;
        let leaps = log.leaps();
        assert_eq!(leaps.len(), before + 1, "{leaps:?}");
        assert!((leaps[before] - expected).abs() <= 1, "{leaps:?}");
    }
}
