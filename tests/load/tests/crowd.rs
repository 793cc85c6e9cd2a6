//! The generator against our own server, over real sockets.

#![allow(clippy::unwrap_used, reason = "what fails here is a test")]

use std::{fs, net::SocketAddr, time::Duration};

use fugitive_load::{
    crowd::Crowd,
    dialect::Fugitive,
    floor::{self, Floor},
    process::free_address,
};
use fugitive_server::{Config, Server};
use tempfile::TempDir;
use tokio::{net::TcpListener, runtime::Runtime, task::LocalSet};

/// A server on threads of its own, as long as this lives.
struct Running {
    address: SocketAddr,
    _site: TempDir,
    _runtime: Runtime,
}

fn server() -> Running {
    let site = tempfile::tempdir().unwrap();
    fs::write(site.path().join("index.html"), "<p>hello").unwrap();
    let config = Config {
        site: site.path().into(),
        ..Config::default()
    };
    let runtime = Runtime::new().unwrap();
    let address = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::open(config).unwrap();
        tokio::spawn(server.run(listener, std::future::pending()));
        address
    });
    Running {
        address,
        _site: site,
        _runtime: runtime,
    }
}

fn with_crowd<F: Future<Output = ()>>(what: impl FnOnce(Crowd) -> F) {
    let server = server();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        let dialect = Fugitive {
            origin: "http://site".into(),
            is_page_apart: false,
            want: 4,
        };
        what(Crowd::new(Box::new(dialect), vec![server.address], 0)).await;
    });
}

#[test]
fn what_is_sent_arrives_and_is_counted_on_both_sides() {
    with_crowd(|crowd| async move {
        crowd.grow(60).await.unwrap();
        let arrivals = crowd.tally();
        assert_eq!(arrivals.join.borrow().percentiles().count, 60);
        let (talk, _) = crowd.talk(400.0, 0.0, Duration::from_secs(2)).await;
        assert!(talk.sent.get() >= 700, "{}", talk.sent.get());
        assert_eq!(talk.relayed.get(), talk.sent.get());
        assert_eq!(talk.answered.get() * 2, talk.sent.get());
        assert_eq!(talk.relay.borrow().percentiles().count, talk.relayed.get());
        assert!(talk.errors.borrow().is_empty(), "{:?}", talk.errors);
        crowd.leave().await;
    });
}

#[test]
fn floor_relays_what_the_others_do() {
    let address = free_address().unwrap();
    std::thread::spawn(move || floor::serve(address).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        let crowd = Crowd::new(Box::new(Floor), vec![address], 0);
        crowd.grow(20).await.unwrap();
        let (talk, _) = crowd.talk(400.0, 0.0, Duration::from_secs(1)).await;
        assert!(talk.sent.get() >= 300, "{}", talk.sent.get());
        assert_eq!(talk.relayed.get(), talk.sent.get());
        assert_eq!(talk.answered.get() * 2, talk.sent.get());
        crowd.leave().await;
    });
}

#[test]
fn visitors_who_navigate_come_back_with_their_tickets_or_as_others() {
    with_crowd(|crowd| async move {
        crowd.grow(20).await.unwrap();
        let all: Vec<usize> = (0..20).collect();
        let back = crowd.navigate(&all, 200.0, true).await.unwrap();
        assert_eq!(back.resume.borrow().percentiles().count, 20);
        let anew = crowd.navigate(&all, 200.0, false).await.unwrap();
        assert_eq!(anew.join.borrow().percentiles().count, 20);
        assert_eq!(crowd.here(), 20);
    });
}

#[test]
fn server_that_is_not_there_is_an_error_and_not_a_wait_for_ever() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = nobody.local_addr().unwrap();
        drop(nobody);
        let dialect = Fugitive {
            origin: "http://site".into(),
            is_page_apart: false,
            want: 4,
        };
        let mut crowd = Crowd::new(Box::new(dialect), vec![address], 0);
        crowd.patience = Duration::from_secs(1);
        let error = crowd.grow(3).await.unwrap_err().to_string();
        assert!(error.starts_with("only 0 of 3 came"), "{error}");
    });
}
