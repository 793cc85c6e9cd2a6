//! A visitor with a keyboard and a screen reader, and whether anything moves under the eyes of others.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::browser::Visitor;

/// Notes what moves, whoever had it move: from where, and to where.
pub const SHIFTS: &str = r"
  self.__shifts = [];
  new PerformanceObserver((list) => {
    for (const { value, sources } of list.getEntries()) {
      const moves = sources.map(({ previousRect: a, currentRect: b }) =>
        [a, b].map(({ x, y, width, height }) => [x, y, width, height].join(' ')).join(' -> '));
      __shifts.push([value, ...moves].join('; '));
    }
  }).observe({ type: 'layout-shift', buffered: true });
";

/// Names of the accessible nodes of a role.
pub async fn named(visitor: &Visitor, role: &str) -> Result<Vec<String>> {
    visitor.cdp("Accessibility.enable", json!({})).await?;
    let tree = visitor
        .cdp("Accessibility.getFullAXTree", json!({}))
        .await?;
    let nodes = tree["nodes"].as_array().cloned().unwrap_or_default();
    let is_shown = |node: &&Value| node["ignored"] != true && node["role"]["value"] == role;
    let name = |node: &Value| {
        node["name"]["value"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    Ok(nodes.iter().filter(is_shown).map(name).collect())
}

/// Presses a key, by its name and its code.
pub async fn press(visitor: &Visitor, key: &str, code: u32) -> Result<()> {
    let text = if key == "Enter" { "\r" } else { "" };
    for kind in ["keyDown", "keyUp"] {
        let event = json!({
            "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code,
            "text": if kind == "keyDown" { text } else { "" },
        });
        visitor.cdp("Input.dispatchKeyEvent", event).await?;
    }
    Ok(())
}

/// What is in the closed shadow root of this element, as the developer tools see it.
pub struct Inside(Value);

impl Inside {
    /// As it is now; empty where there is no such element.
    pub async fn of(visitor: &Visitor, host: &str) -> Result<Self> {
        let whole = json!({ "depth": -1, "pierce": true });
        let document = visitor.cdp("DOM.getDocument", whole).await?;
        let root = Self(document["root"].clone());
        let found = root.all(host).into_iter().next();
        Ok(Self(found.map_or(Value::Null, |found| found.0)))
    }

    /// Elements of this name, in their order.
    pub fn all(&self, name: &str) -> Vec<Self> {
        let mut found = Vec::new();
        for part in ["children", "shadowRoots"] {
            for node in self.0[part].as_array().into_iter().flatten() {
                let node = Self(node.clone());
                if node.0["localName"] == name {
                    found.push(Self(node.0.clone()));
                }
                found.extend(node.all(name));
            }
        }
        found
    }

    /// An attribute, where it is there.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let pairs = self.0["attributes"].as_array()?;
        let mut pairs = pairs.chunks(2);
        pairs.find(|pair| pair[0] == name)?[1].as_str()
    }

    /// All its text.
    pub fn text(&self) -> String {
        let mut text = self.0["nodeValue"].as_str().unwrap_or_default().to_owned();
        for part in ["children", "shadowRoots"] {
            for node in self.0[part].as_array().into_iter().flatten() {
                text.push_str(&Self(node.clone()).text());
            }
        }
        text
    }

    /// What a function says of it, called with it as `this`.
    pub async fn ask(&self, visitor: &Visitor, function: &str) -> Result<Value> {
        let node = json!({ "backendNodeId": self.0["backendNodeId"] });
        let resolved = visitor.cdp("DOM.resolveNode", node).await?;
        let call = json!({
            "objectId": resolved["object"]["objectId"],
            "functionDeclaration": function,
            "returnByValue": true,
        });
        let called = visitor.cdp("Runtime.callFunctionOn", call).await?;
        let thrown = &called["exceptionDetails"];
        ensure!(thrown.is_null(), "{thrown}");
        Ok(called["result"]["value"].clone())
    }

    /// Its box on the screen: left, top, right, bottom, in pixels; nothing where it is not shown.
    pub async fn place(&self, visitor: &Visitor) -> Option<[f64; 4]> {
        let node = json!({ "backendNodeId": self.0["backendNodeId"] });
        let model = visitor.cdp("DOM.getBoxModel", node).await.ok()?;
        let border: Vec<f64> = serde_json::from_value(model["model"]["border"].clone()).ok()?;
        Some([border[0], border[1], border[4], border[5]])
    }
}
