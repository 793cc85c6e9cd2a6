//! The way in: a request becomes a socket of a visitor, or is refused.

use std::sync::Arc;

use arc_swap::ArcSwap;
use fugitive_signal::handshake::BadHandshake;
use warp::{Filter, Rejection, http::StatusCode, reply::Response};

use super::Signalling;
use crate::{
    access::{Access, Refused},
    address::Visitor,
    entity, metrics,
    socket::{self, Upgrade},
};

/// The WebSocket. A handshake without `Origin` is refused: it says within what peers are paired.
pub fn route(
    signalling: Signalling,
    access: Arc<ArcSwap<Access>>,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    let token = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::path!("fugitive" / "signal")
        .and(socket::upgrade())
        .and(warp::header::optional::<String>("origin"))
        .and(token)
        .and(warp::ext::get::<Visitor>())
        .map(
            move |upgrade: Result<Upgrade, BadHandshake>,
                  origin: Option<String>,
                  query: String,
                  remote: Visitor| {
                let Ok(upgrade) = upgrade else {
                    metrics::count(&signalling.metrics.refused, "why", "handshake");
                    tracing::info!("signal: refused {remote}: {BadHandshake}");
                    return entity::bare(StatusCode::BAD_REQUEST);
                };
                let access = access.load();
                let origin = origin.unwrap_or_default();
                match access.admit(remote, &origin, token_in(&query)) {
                    Ok(share) => {
                        let signalling = signalling.clone();
                        upgrade.on_upgrade(move |stream, first| {
                            let sockets = signalling.sockets.clone();
                            let stream = (stream, first);
                            sockets.track_future(signalling.serve(stream, origin, remote, share))
                        })
                    }
                    Err(refused) => {
                        let metrics = &signalling.metrics;
                        metrics::count(&metrics.refused, "why", refused.kind());
                        // Those who are too many have said so, once for many.
                        if !matches!(refused, Refused::TooMany(_)) {
                            tracing::info!("signal: refused {remote}: {refused}");
                        }
                        entity::bare(refused.status())
                    }
                }
            },
        )
}

/// `token` of a query. A JWT needs no decoding.
fn token_in(query: &str) -> Option<&str> {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix("token="))
}
