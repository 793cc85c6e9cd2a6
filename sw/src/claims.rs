//! What the manifest of a live site is made of. Its server has no folder to look into: it is told which
//! resources visitors got that it does not list, and which were not what it lists. It looks for itself,
//! and believes neither.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    rc::Rc,
};

use gloo::timers::future::TimeoutFuture;
use wasm_bindgen_futures::spawn_local;
use web_sys::{RequestCredentials, RequestInit};

use crate::origin;

/// What a page shows is told of in one go, so much later, in milliseconds.
const LATER: u32 = 2_000;
/// The server takes no more at once, in bytes.
const LONGEST: usize = 16 * 1024;
/// One worker tells of no more.
const MOST: usize = 1_000;

/// What is said of a URL, which is the path below the manifest's folder where it is said.
#[derive(Clone, Copy)]
pub enum Claim {
    /// The visitor got it, and it is not listed.
    Seen,
    /// The origin has something else than is listed.
    Differs,
}

impl Claim {
    const ALL: [Self; 2] = [Self::Seen, Self::Differs];

    fn path(self) -> &'static str {
        match self {
            Self::Seen => "/seen",
            Self::Differs => "/differs",
        }
    }
}

/// What was said, and what is about to be.
#[derive(Default)]
pub struct Claims {
    said: RefCell<BTreeSet<String>>,
    next: RefCell<[Vec<String>; 2]>,
    is_coming: Cell<bool>,
}

impl Claims {
    /// Each URL once, to the server whose manifest lies in this folder.
    pub fn claim(self: &Rc<Self>, claim: Claim, folder: &str, url: &str) {
        let mut said = self.said.borrow_mut();
        // A line is a URL, and together with others it must fit.
        let fits = url.len() < LONGEST && !url.contains('\n') && said.len() < MOST;
        if !fits || !said.insert([claim.path(), " ", url].concat()) {
            return;
        }
        self.next.borrow_mut()[claim as usize].push(url.to_owned());
        if !self.is_coming.replace(true) {
            let (claims, folder) = (self.clone(), folder.to_owned());
            spawn_local(async move {
                TimeoutFuture::new(LATER).await;
                claims.is_coming.set(false);
                for claim in Claim::ALL {
                    let urls = std::mem::take(&mut claims.next.borrow_mut()[claim as usize]);
                    for lines in bodies(&urls) {
                        send(&[&folder, claim.path()].concat(), &lines).await;
                    }
                }
            });
        }
    }
}

/// As many lines in each as the server takes.
fn bodies(urls: &[String]) -> Vec<String> {
    let mut bodies = vec![String::new()];
    for url in urls {
        let last = bodies.last_mut();
        match last.filter(|body| body.len() + url.len() < LONGEST) {
            Some(body) => {
                body.push_str(url);
                body.push('\n');
            }
            None => bodies.push([url, "\n"].concat()),
        }
    }
    bodies.retain(|body| !body.is_empty());
    bodies
}

/// What does not arrive is told of by somebody else.
async fn send(to: &str, lines: &str) {
    let init = RequestInit::new();
    init.set_method("POST");
    init.set_body(&lines.into());
    init.set_credentials(RequestCredentials::Omit);
    let _ = origin::fetch(to, &init).await;
}
