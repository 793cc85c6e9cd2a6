//! What a client is told for gathering candidates: servers by name, and for TURN a password that is
//! good for a while.
//!
//! The password follows the convention of TURN's REST API
//! (draft-uberti-behave-turn-rest-00): the user is `expiry:peer`, the password the HMAC-SHA1 of the
//! user by a secret that the TURN server shares. coturn calls that `use-auth-secret`.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use fugitive_signal::IceServer;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::config::Config;

/// Makes the list that a client gets.
pub struct Ice {
    servers: Vec<IceServer>,
    turn: Option<Turn>,
}

struct Turn {
    urls: Vec<String>,
    mac: Hmac<Sha1>,
    seconds: u64,
}

impl Ice {
    /// By the configuration; TURN only where there is a secret.
    pub fn new(config: &Config) -> Self {
        let turn = &config.turn;
        let key = turn.secret.as_ref().filter(|_| !turn.urls.is_empty());
        // An HMAC takes keys of any length.
        let mac = key.and_then(|secret| Hmac::new_from_slice(secret.as_bytes()).ok());
        Self {
            servers: config.ice.clone(),
            turn: mac.map(|mac| Turn {
                urls: turn.urls.clone(),
                mac,
                seconds: turn.seconds,
            }),
        }
    }

    /// For this peer; `now` is in seconds since 1970, of the clock that the TURN server goes by.
    pub fn servers(&self, peer: &str, now: u64) -> Vec<IceServer> {
        let mut servers = self.servers.clone();
        if let Some(Turn { urls, mac, seconds }) = &self.turn {
            let user = format!("{}:{peer}", now.saturating_add(*seconds));
            let mut mac = mac.clone();
            mac.update(user.as_bytes());
            servers.push(IceServer {
                urls: urls.clone(),
                credential: Some(BASE64_STANDARD.encode(mac.finalize().into_bytes())),
                username: Some(user),
            });
        }
        servers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_is_the_hmac_of_expiry_and_peer() {
        let mut config = Config::default();
        config.turn.urls = vec!["turn:t.example".into()];
        assert!(Ice::new(&config).servers("ab", 1000).is_empty());
        config.turn.secret = Some("north".into());
        config.turn.seconds = 500;
        let servers = Ice::new(&config).servers("ab", 1000);
        // printf 1500:ab | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(servers[0].username.as_deref(), Some("1500:ab"));
        assert_eq!(
            servers[0].credential.as_deref(),
            Some("QmC0yKHQUofwxSNXyx6l54bO24o=")
        );
    }
}
