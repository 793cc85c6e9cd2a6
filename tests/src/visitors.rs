//! Visitors as several scenarios need them.

use anyhow::{Result, ensure};

use crate::{
    browser::{Driver, Visitor},
    origin::Origin,
    site::IMAGES,
};

/// A device that a test has in its hand, and a count of the group frames that the window sends.
pub const DEVICE: &str = r"
(() => {
  const battery = Object.assign(new EventTarget(), { level: 1, charging: false });
  navigator.getBattery = async () => battery;
  const line = Object.assign(new EventTarget(), { type: 'wifi', saveData: false });
  Object.defineProperty(navigator, 'connection', { get: () => line });
  self.__charge = (level, charging = false) => {
    Object.assign(battery, { level, charging });
    battery.dispatchEvent(new Event('levelchange'));
    return __frames;
  };
  self.__line = (change) => {
    Object.assign(line, change);
    line.dispatchEvent(new Event('change'));
  };
  self.__frames = 0;
  const { send } = RTCDataChannel.prototype;
  RTCDataChannel.prototype.send = function (data) {
    const bytes = new Uint8Array(data.buffer ?? data, data.byteOffset ?? 0);
    if (bytes[0] === 2) __frames += 1;
    return send.call(this, data);
  };
})();
";

/// A visitor who has been on a page without media and has a peer.
pub async fn newcomer(driver: &Driver, origin: &Origin) -> Result<Visitor> {
    let visitor = Visitor::new(driver).await?;
    visitor.goto(&origin.url("/empty.html")).await?;
    visitor.until_peers(1).await?;
    Ok(visitor)
}

/// Fails unless every image of a gallery is rendered as for another visitor.
pub async fn see_the_same(visitor: &Visitor, other: &Visitor) -> Result<()> {
    for n in 0..IMAGES {
        let selector = format!("#i{n}");
        let (ours, theirs) = (visitor.pixels(&selector), other.pixels(&selector));
        ensure!(ours.await? == theirs.await?, "{selector} differs");
    }
    Ok(())
}
