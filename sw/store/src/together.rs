//! Reads that come while another is under way go into its transaction: the images of a page are asked for all
//! at once, and each transaction wakes another process. Not for what needs more than one read.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use futures_channel::oneshot;
use rexie::Store;
use wasm_bindgen::JsValue;

use crate::{
    StoreError,
    connection::{BLOCKS, Connection, get},
};

/// Reads in one transaction at most: a write waits for its end.
const MOST: usize = 64;

/// A transaction and the reads that are in it.
pub(crate) struct Together {
    blocks: Store,
    count: Cell<usize>,
    /// Of these: those that it has not answered.
    under_way: Cell<usize>,
    /// It takes a read only while it answers another.
    waiting: RefCell<Vec<oneshot::Sender<()>>>,
}

impl Connection {
    /// A block's record.
    pub(crate) async fn record(&self, key: JsValue) -> Result<Option<JsValue>, StoreError> {
        let open = self.together.borrow().clone();
        let together = match open.filter(|open| open.count.get() < MOST) {
            Some(open) => {
                let (turn, come) = oneshot::channel();
                open.waiting.borrow_mut().push(turn);
                open.count.set(open.count.get() + 1);
                let _ = come.await;
                open
            }
            None => {
                let begun = Rc::new(Together {
                    blocks: self.reading(&[BLOCKS])?.store(BLOCKS)?,
                    count: Cell::new(1),
                    under_way: Cell::new(1),
                    waiting: RefCell::default(),
                });
                self.together.replace(Some(begun.clone()));
                begun
            }
        };
        let record = together.blocks.get(key.clone()).await;
        if together.answered() {
            self.is_over(&together);
        }
        match record {
            Ok(record) => Ok(record),
            // That may be about another one of them.
            Err(_) => get(&self.reading(&[BLOCKS])?, BLOCKS, key).await,
        }
    }

    fn is_over(&self, ended: &Rc<Together>) {
        let mut together = self.together.borrow_mut();
        if together
            .as_ref()
            .is_some_and(|open| Rc::ptr_eq(open, ended))
        {
            *together = None;
        }
    }
}

impl Together {
    /// A read was answered, and so it is the turn of those that wait. Says whether there is nothing more
    /// under way.
    fn answered(&self) -> bool {
        let waiting = self.waiting.take();
        let under_way = self.under_way.get() - 1 + waiting.len();
        self.under_way.set(under_way);
        for turn in waiting {
            // A call runs to its end, so nobody has given up.
            let _ = turn.send(());
        }
        under_way == 0
    }
}
