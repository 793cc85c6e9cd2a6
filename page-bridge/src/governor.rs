//! The governor: has the engine serve as the manners allow, and counts the day's bytes.
//!
//! What is allowed is decided in `fugitive_core::manners`; what has changed is noticed here.

use std::cell::{Cell, RefCell};

use fugitive_core::{
    engine::Config,
    manners::{Consent, Ledger, Limits, Manners, Signals, Turn, decide},
    port::FromBridge,
};
use js_sys::{Array, Reflect};
use wasm_bindgen::{JsCast, JsValue};

/// What is served between two looks at the table, in bytes.
const STEP: u64 = 16 << 10;

/// As `signals.js` tells it.
struct Told {
    signals: Signals,
    /// Limits of the page's own, by name.
    limits: Vec<(String, f64)>,
}

/// What the table is asked with, and what it said last.
pub struct Governor {
    told: RefCell<Told>,
    site: RefCell<Limits>,
    ledger: RefCell<Ledger>,
    /// What the engine had served when it was last counted.
    counted: Cell<u64>,
    manners: RefCell<Manners>,
    seed: u64,
}

impl Governor {
    /// `told` as in [`Governor::told`].
    pub fn new(told: JsValue) -> Self {
        let told = read(&told);
        let manners = decide(&told.signals, &limits(&told, Limits::default()), 0);
        Self {
            told: RefCell::new(told),
            site: RefCell::default(),
            ledger: RefCell::default(),
            counted: Cell::new(0),
            manners: RefCell::new(manners),
            seed: (js_sys::Math::random() * u64::MAX as f64) as u64,
        }
    }

    /// The window tells what it sees now.
    pub fn told(&self, told: JsValue) -> bool {
        self.told.replace(read(&told));
        self.judge()
    }

    /// The manifest says what the site wants.
    pub fn policy(&self, site: &[u64]) -> bool {
        self.site.replace(Limits::of(site));
        self.judge()
    }

    /// What was served today before this page.
    pub fn load(&self, ledger: Ledger) {
        self.ledger.replace(ledger);
        self.judge();
    }

    /// The engine has served so much in all. Says whether the ledger is to be kept.
    pub fn served(&self, total: u64) -> bool {
        let new = total - self.counted.get();
        if new < STEP {
            return false;
        }
        self.counted.set(total);
        self.ledger.borrow_mut().give(new, js_sys::Date::now());
        true
    }

    /// What was served today.
    pub fn ledger(&self) -> Ledger {
        *self.ledger.borrow()
    }

    /// Asks the table. Says whether it says something else than before.
    pub fn judge(&self) -> bool {
        let told = self.told.borrow();
        let limits = limits(&told, self.site.borrow().clone());
        let given = self.ledger.borrow().given(js_sys::Date::now());
        let manners = decide(&told.signals, &limits, given);
        let before = self.manners.replace(manners.clone());
        before != manners
    }

    /// Whether another tab has taken over.
    pub fn is_over(&self) -> bool {
        self.told.borrow().signals.turn == Turn::Over
    }

    /// For the engine.
    pub fn config(&self) -> Config {
        self.manners.borrow().config(self.seed)
    }

    /// For a page that asks.
    pub fn shown(&self) -> FromBridge {
        let manners = self.manners.borrow();
        FromBridge::Manners {
            quiet: manners.quiet.map(|why| why.to_string()),
            given: self.ledger.borrow().given(js_sys::Date::now()),
            daily: manners.daily,
        }
    }
}

fn limits(told: &Told, mut limits: Limits) -> Limits {
    for (name, value) in &told.limits {
        limits.set(name, *value);
    }
    limits.bounded()
}

/// Field by field: what is missing, or of another type, tells nothing.
fn read(told: &JsValue) -> Told {
    let of = |from: &JsValue, name: &str| Reflect::get(from, &name.into()).unwrap_or_default();
    let signals = of(told, "signals");
    let get = |name| of(&signals, name);
    let number = |name| get(name).as_f64();
    let limits: Array = of(told, "limits").dyn_into().unwrap_or_default();
    let limit = |pair: JsValue| {
        let pair: Array = pair.dyn_into().ok()?;
        Some((pair.get(0).as_string()?, pair.get(1).as_f64()?))
    };
    Told {
        signals: Signals {
            consent: match get("consent").as_string().as_deref() {
                Some("said") => Consent::Said,
                Some("implied") => Consent::Implied,
                _ => Consent::None,
            },
            gpc: get("gpc").is_truthy(),
            loading: get("loading").is_truthy(),
            hidden: number("hidden").map(|seconds| seconds as u32),
            others: get("others").is_truthy(),
            turn: match get("turn").as_string().as_deref() {
                Some("next") => Turn::Next,
                Some("over") => Turn::Over,
                _ => Turn::Now,
            },
            battery: number("battery").map(|charge| charge as f32),
            charging: get("charging").as_bool(),
            line: get("line").as_string(),
            speed: get("speed").as_string(),
            save_data: get("saveData").as_bool(),
            reduced_data: get("reducedData").is_truthy(),
            memory: number("memory").map(|memory| memory as f32),
            cores: number("cores").map(|cores| cores as u32),
            phone: get("phone").is_truthy(),
        },
        limits: limits.iter().filter_map(limit).collect(),
    }
}
