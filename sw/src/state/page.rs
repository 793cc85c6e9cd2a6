//! Which pages have us switched off. Chromium's answer to that comes from a thread that is busy while a page
//! opens, when all of its images ask.

use std::rc::Rc;

use futures_util::future::join;
use js_sys::Promise;
use wasm_bindgen_futures::{JsFuture, future_to_promise};

use super::State;

/// Pages remembered; more than a browser has open.
const MAX_PAGES: usize = 256;

/// What is known of a page.
#[derive(Clone)]
pub enum Page {
    /// Whether it has us switched off.
    Known {
        /// It has.
        off: bool,
    },
    /// That is being asked.
    Asked(Promise),
}

impl Page {
    /// Whether it has us switched off.
    pub async fn is_off(&self) -> bool {
        match self {
            Self::Known { off } => *off,
            Self::Asked(looked) => {
                let off = JsFuture::from(looked.clone()).await;
                off.is_ok_and(|off| off.is_truthy())
            }
        }
    }
}

impl State {
    /// Whether this page has us switched off; looked up once for each page.
    pub fn page(self: &Rc<Self>, client: &str) -> Page {
        if client.is_empty() {
            return Page::Known { off: false };
        }
        if let Some(page) = self.pages.borrow().get(client) {
            return page.clone();
        }
        let (state, id) = (self.clone(), client.to_owned());
        let looked = future_to_promise(async move {
            let is_off = JsFuture::from(state.shell.is_off(&id));
            let (off, ()) = join(is_off, state.drop_dead_port()).await;
            let off = off.is_ok_and(|off| off.is_truthy());
            state.pages.borrow_mut().insert(id, Page::Known { off });
            Ok(off.into())
        });
        let page = Page::Asked(looked);
        let mut pages = self.pages.borrow_mut();
        if pages.len() >= MAX_PAGES {
            pages.clear();
        }
        pages.insert(client.to_owned(), page.clone());
        page
    }
}
