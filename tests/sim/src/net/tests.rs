use super::*;

/// The messages of one pipe as they arrive: their first bytes.
fn arrive(up: f64, down: f64, messages: &[(u8, usize)]) -> Vec<u8> {
    let (mut net, mut clock) = (Net::new(1_000_000, 0.0, 0), Clock::<Event>::default());
    net.node(up, 1.0);
    net.node(1.0, down);
    let pipe = net.pipe(Some(0), 1, 10_000, 0.0, 1);
    for (name, size) in messages {
        let message = Parcel::Message(Message::Whole(vec![*name; *size]));
        net.send(pipe, *size as u64, message, &mut clock);
    }
    let mut told = Vec::new();
    while let Some(event) = clock.turn() {
        let Event::Net(event) = event else {
            continue;
        };
        if let Some(Note::Message(_, Message::Whole(bytes))) = net.happened(event, &mut clock) {
            told.push(bytes[0]);
        }
    }
    told
}

#[test]
fn nothing_of_a_pipe_overtakes_not_even_by_a_moment() {
    // The second one comes just when the first is through the downlink, a little sooner, a little later.
    for late in [0.8, 0.99, 1.0, 1.01, 1.2] {
        let told = arrive(
            0.05 * late,
            8.0,
            &[(1, 8_000), (2, 50), (3, 3_000), (4, 50)],
        );
        assert_eq!(told, [1, 2, 3, 4], "{late}");
    }
}
