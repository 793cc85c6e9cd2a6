//! A stream as JavaScript pulls it.

use std::{
    cell::{Cell, RefCell},
    pin::pin,
    rc::Rc,
};

use futures_channel::oneshot;
use futures_util::future::{Either, select};
use js_sys::Promise;
use wasm_bindgen::{JsValue, prelude::*};
use wasm_bindgen_futures::future_to_promise;

use super::Stream;
use crate::log;

/// A stream as JavaScript pulls it.
#[wasm_bindgen]
pub struct Flow {
    stream: Rc<RefCell<Option<Stream>>>,
    cancelled: Rc<Cell<bool>>,
    cancel: RefCell<Option<oneshot::Sender<()>>>,
}

impl Flow {
    /// Around a stream.
    pub fn new(stream: Stream) -> Self {
        Self {
            stream: Rc::new(RefCell::new(Some(stream))),
            cancelled: Rc::default(),
            cancel: RefCell::default(),
        }
    }
}

#[wasm_bindgen]
impl Flow {
    /// Resolves with the next bytes, or undefined at the end.
    pub fn next(&self) -> Promise {
        let (slot, cancelled) = (self.stream.clone(), self.cancelled.clone());
        let (sender, cancel) = oneshot::channel();
        self.cancel.replace(Some(sender));
        future_to_promise(async move {
            let Some(mut stream) = slot.take() else {
                return Ok(JsValue::UNDEFINED);
            };
            let next = match select(pin!(stream.next()), cancel).await {
                Either::Left((next, _)) => next,
                Either::Right(_) => Ok(None),
            };
            if cancelled.get() || !matches!(next, Ok(Some(_))) {
                stream.finish();
            } else {
                slot.replace(Some(stream));
            }
            if let Err(error) = &next {
                log::warn(&["answer broke off: ", &log::reason(error)]);
            }
            Ok(next?.map_or(JsValue::UNDEFINED, JsValue::from))
        })
    }

    /// The page no longer reads.
    pub fn cancel(&self) {
        self.cancelled.set(true);
        self.cancel.replace(None);
        if let Some(mut stream) = self.stream.take() {
            stream.finish();
        }
    }
}
