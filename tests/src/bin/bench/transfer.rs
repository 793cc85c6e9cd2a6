//! One verified transfer of a 20 MB video from a peer, against a raw RTCDataChannel between the same
//! two browsers in the same run.

use std::fs;

use anyhow::{Result, ensure};
use fugitive_tests::{
    browser::{Driver, PATIENCE, Visitor},
    origin::{Fault, Origin},
    site::Site,
};
use serde_json::json;

use crate::median;

const BYTES: usize = 20 << 20;
const RUNS: usize = 5;

/// Runs it and prints its figures.
pub async fn transfer() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let mut noise = vec![0; BYTES];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    fs::write(site.path("noise.mp4"), &noise)?;
    let origin = Origin::start(&site).await?;
    let first = Visitor::new(&driver).await?;
    first.goto(&origin.url("/empty.html")).await?;
    first.until_controlled().await?;
    first.until_listed("/noise.mp4").await?;
    first.fill("/noise.mp4", BYTES as u64).await?;
    origin.fault("/noise.mp4", Fault::Delay(PATIENCE));

    let mut ratios = Vec::new();
    let (mut raws, mut peers) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        let second = Visitor::new(&driver).await?;
        second.goto(&origin.url("/empty.html")).await?;
        second.until_peers(1).await?;
        let (raw, peer) = if run % 2 == 0 {
            let raw = raw(&first, &second).await?;
            (raw, read(&second).await?)
        } else {
            let peer = read(&second).await?;
            (raw(&first, &second).await?, peer)
        };
        let served = second.served("/noise.mp4").await?;
        ensure!(
            served.iter().all(|(source, _)| source == "tier-1"),
            "not from the peer alone: {served:?}"
        );
        println!("run {run}: raw {raw:.1} MB/s, verified from a peer {peer:.1} MB/s");
        ratios.push(peer / raw);
        raws.push(raw);
        peers.push(peer);
        second.quit().await?;
    }
    first.quit().await?;
    println!(
        "{}",
        json!({
            "bench": "transfer",
            "runs": RUNS,
            "raw_mb_s": median(&mut raws)?,
            "peer_mb_s": median(&mut peers)?,
            "share": median(&mut ratios)?,
        })
    );
    Ok(())
}

/// MB/s of `fugitive.fetch`, from the call to the last byte.
async fn read(visitor: &Visitor) -> Result<f64> {
    visitor
        .eval(
            "(async () => {
               const began = performance.now();
               const reader = (await fugitive.fetch('/noise.mp4')).body.getReader();
               let bytes = 0;
               for (let read; !(read = await reader.read()).done; ) bytes += read.value.length;
               return bytes / 1000 / (performance.now() - began);
             })()",
        )
        .await
}

/// MB/s of a channel of our own, from the receiver's asking to the last byte.
async fn raw(sender: &Visitor, receiver: &Visitor) -> Result<f64> {
    let whole = "await new Promise((done) => {
       if (pc.iceGatheringState === 'complete') done();
       else pc.onicegatheringstatechange = () => pc.iceGatheringState === 'complete' && done();
     });
     return pc.localDescription.sdp;";
    let offer: String = sender
        .eval(&format!(
            "(async () => {{
               const pc = (self.__pc = new RTCPeerConnection());
               const channel = pc.createDataChannel('raw');
               channel.binaryType = 'arraybuffer';
               channel.bufferedAmountLowThreshold = 2 << 20;
               channel.onmessage = async () => {{
                 const piece = new Uint8Array(64 << 10);
                 for (let left = {BYTES}; left > 0; left -= piece.length) {{
                   if (channel.bufferedAmount > 4 << 20) {{
                     await new Promise((low) => (channel.onbufferedamountlow = low));
                   }}
                   channel.send(piece);
                 }}
               }};
               await pc.setLocalDescription();
               {whole}
             }})()"
        ))
        .await?;
    let answer: String = receiver
        .eval(&format!(
            "(async () => {{
               const pc = (self.__pc = new RTCPeerConnection());
               self.__channel = new Promise((open) => (pc.ondatachannel = ({{ channel }}) => {{
                 channel.binaryType = 'arraybuffer';
                 if (channel.readyState === 'open') open(channel);
                 else channel.onopen = () => open(channel);
               }}));
               await pc.setRemoteDescription({{ type: 'offer', sdp: {} }});
               await pc.setLocalDescription();
               {whole}
             }})()",
            json!(offer)
        ))
        .await?;
    sender
        .eval::<()>(&format!(
            "__pc.setRemoteDescription({{ type: 'answer', sdp: {} }}).then(() => null)",
            json!(answer)
        ))
        .await?;
    let rate = receiver
        .eval(&format!(
            "(async () => {{
               const channel = await __channel;
               const began = performance.now();
               let bytes = 0;
               await new Promise((done) => {{
                 channel.onmessage = ({{ data }}) => {{
                   bytes += data.byteLength;
                   if (bytes >= {BYTES}) done();
                 }};
                 channel.send('go');
               }});
               return bytes / 1000 / (performance.now() - began);
             }})()"
        ))
        .await?;
    for visitor in [sender, receiver] {
        visitor.eval::<()>("(__pc.close(), null)").await?;
    }
    Ok(rate)
}
