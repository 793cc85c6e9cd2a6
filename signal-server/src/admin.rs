//! For the operator: `/metrics`, `/healthz` and `/readyz`, on an address of their own. The last two
//! are below `/fugitive/` for whoever can see only the site.

use warp::{
    Filter, Rejection, Reply,
    filters::BoxedFilter,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    reply::Response,
};

use crate::{Server, entity};

const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All three.
pub fn route(server: Server) -> BoxedFilter<(Response,)> {
    let metrics = server.clone();
    let metrics = warp::path!("metrics").and(warp::get()).map(move || {
        let mut reply = metrics.metrics().into_response();
        let text = HeaderValue::from_static(TEXT);
        reply.headers_mut().insert(CONTENT_TYPE, text);
        reply
    });
    metrics
        .or(health(move || server.is_draining()))
        .unify()
        .boxed()
}

/// `healthz`: it answers. `readyz`: send visitors here.
pub fn health(
    is_draining: impl Fn() -> bool + Clone + Send + Sync + 'static,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    let healthy = warp::path!("healthz").map(|| entity::bare(StatusCode::OK));
    let ready = warp::path!("readyz").map(move || match is_draining() {
        true => entity::bare(StatusCode::SERVICE_UNAVAILABLE),
        false => entity::bare(StatusCode::OK),
    });
    warp::get().and(healthy.or(ready).unify())
}
