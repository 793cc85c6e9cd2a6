//! `fugitive top`: contexts, peers and rates of a running server, live in a terminal, out of its
//! `/metrics`.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use ratatui::{
    DefaultTerminal, Frame,
    crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
    layout::{Constraint, Layout},
    style::{Style, Stylize},
    text::Line,
    widgets::{Block, Row, Sparkline, Table},
};

/// How often the server is asked.
const EVERY: Duration = Duration::from_secs(1);
/// Rates that are remembered for the graph.
const HISTORY: usize = 300;

/// Counters and gauges, by name with their labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample(BTreeMap<String, f64>);

impl Sample {
    /// What is not a line of a metric is not looked at.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let values = lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self(values.collect())
    }

    fn get(&self, name: &str) -> f64 {
        self.0
            .get(&format!("fugitive_{name}"))
            .copied()
            .unwrap_or_default()
    }

    /// Of a metric with one label: its values, the greatest first.
    fn by_label(&self, name: &str) -> Vec<(&str, f64)> {
        let prefix = format!("fugitive_{name}{{");
        let with = self.0.iter().filter_map(|(key, value)| {
            let label = key.strip_prefix(&prefix)?.split_once("=\"")?.1;
            Some((label.strip_suffix("\"}")?, *value))
        });
        let mut with: Vec<_> = with.collect();
        with.sort_by(|a, b| b.1.total_cmp(&a.1));
        with
    }
}

/// What is shown.
#[derive(Default)]
pub struct View {
    server: String,
    now: Sample,
    before: Option<(Sample, Duration)>,
    relayed: VecDeque<u64>,
    /// Why there is nothing new.
    trouble: Option<String>,
}

impl View {
    /// Of this server, which was not asked yet.
    pub fn of(server: &str) -> Self {
        Self {
            server: server.to_owned(),
            ..Self::default()
        }
    }

    /// The server's answer, so long after the last one.
    pub fn hear(&mut self, answer: anyhow::Result<String>, after: Duration) {
        match answer {
            Ok(text) => {
                let before = std::mem::replace(&mut self.now, Sample::parse(&text));
                self.before = Some((before, after)).filter(|(before, _)| !before.0.is_empty());
                self.trouble = None;
                self.relayed
                    .push_back(self.rate("signals_relayed_total") as u64);
                if self.relayed.len() > HISTORY {
                    self.relayed.pop_front();
                }
            }
            Err(error) => self.trouble = Some(format!("{error:#}")),
        }
    }

    /// A second; nothing where a server began anew in between.
    fn rate(&self, counter: &str) -> f64 {
        let Some((before, after)) = &self.before else {
            return 0.0;
        };
        let grown = self.now.get(counter) - before.get(counter);
        grown.max(0.0) / after.as_secs_f64().max(0.001)
    }

    /// Onto the terminal.
    pub fn draw(&self, frame: &mut Frame<'_>) {
        let [head, numbers, graph, tables] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(6),
            Constraint::Length(6),
            Constraint::Min(3),
        ])
        .areas(frame.area());
        let title = match &self.trouble {
            None => Line::from(format!(" {}   q ends", self.server)).bold(),
            Some(trouble) => Line::from(format!(" {}: {trouble}", self.server)).red(),
        };
        frame.render_widget(title, head);

        let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).areas(numbers);
        let there = ["peers", "connections", "channels", "pages"]
            .map(|name| Row::new([name.to_owned(), format!("{}", self.now.get(name))]));
        let widths = [Constraint::Length(14), Constraint::Fill(1)];
        let table = |rows: Vec<Row<'static>>, title: &'static str| {
            Table::new(rows, widths).block(Block::bordered().title(title))
        };
        frame.render_widget(table(there.into(), "now"), left);
        let rates = [
            ("joins", "joins_total", 1.0),
            ("messages", "messages_total", 1.0),
            ("signals", "signals_relayed_total", 1.0),
            ("MB sent", "sent_bytes_total", 1e6),
        ]
        .map(|(name, counter, unit)| {
            let rate = self.rate(counter) / unit;
            Row::new([name.to_owned(), format!("{rate:.1}")])
        });
        frame.render_widget(table(rates.into(), "a second"), right);

        let most = usize::from(graph.width.saturating_sub(2));
        let from = self.relayed.len().saturating_sub(most);
        let relayed: Vec<u64> = self.relayed.iter().skip(from).copied().collect();
        let sparkline = Sparkline::default()
            .data(&relayed)
            .style(Style::new().cyan())
            .block(Block::bordered().title("signals relayed a second"));
        frame.render_widget(sparkline, graph);

        let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).areas(tables);
        let rows = |name: &str| {
            let values = self.now.by_label(name).into_iter();
            let rows =
                values.map(|(label, value)| Row::new([format!("{value}"), label.to_owned()]));
            rows.collect::<Vec<_>>()
        };
        let widths = [Constraint::Length(9), Constraint::Fill(1)];
        let origins = Table::new(rows("origin_peers"), widths)
            .block(Block::bordered().title("peers by origin"));
        frame.render_widget(origins, left);
        let mut ends = rows("sockets_closed_total");
        ends.extend(rows("joins_refused_total"));
        let ends = Table::new(ends, widths).block(Block::bordered().title("closed and refused"));
        frame.render_widget(ends, right);
    }
}

/// Shows it until the user has seen enough. `server` is what the server's `admin` says.
pub fn run(server: &str) -> anyhow::Result<()> {
    // Before the terminal is ours: what is wrong here is said in plain text.
    let first = ask(server)?;
    let mut view = View::of(server);
    view.hear(Ok(first), EVERY);
    let mut terminal = ratatui::init();
    let shown = show(&mut terminal, server, view);
    ratatui::restore();
    shown
}

fn show(terminal: &mut DefaultTerminal, server: &str, mut view: View) -> anyhow::Result<()> {
    let mut asked = Instant::now();
    loop {
        terminal.draw(|frame| view.draw(frame))?;
        if event::poll(EVERY.saturating_sub(asked.elapsed()))? {
            if let Event::Key(key) = event::read()?
                && key.kind == KeyEventKind::Press
                && (matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
                    || key.code == KeyCode::Char('c') && key.modifiers == KeyModifiers::CONTROL)
            {
                return Ok(());
            }
            continue;
        }
        let after = asked.elapsed();
        asked = Instant::now();
        view.hear(ask(server), after);
    }
}

/// The server's metrics, by the simplest of HTTP.
fn ask(server: &str) -> anyhow::Result<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(server)
        .with_context(|| format!("nobody answers at {server}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let request = format!("GET /metrics HTTP/1.0\r\nhost: {server}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    // No server of ours says more.
    stream.take(4 << 20).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    anyhow::ensure!(head.contains(" 200 "), "no metrics at {server}");
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend};

    use super::*;

    #[test]
    fn rates_are_what_came_since_the_last_answer() {
        let mut view = View::of("here");
        let text = |peers: u32, relayed: u32| {
            format!(
                "# HELP fugitive_peers Peers\nfugitive_peers {peers}\n\
                 fugitive_signals_relayed_total {relayed}\n\
                 fugitive_origin_peers{{origin=\"https://a b\"}} 7\n\
                 fugitive_origin_peers{{origin=\"https://c\"}} 9\n# EOF\n"
            )
        };
        view.hear(Ok(text(1, 100)), EVERY);
        view.hear(Ok(text(16, 300)), Duration::from_secs(2));
        assert!((view.rate("signals_relayed_total") - 100.0).abs() < 1e-9);
        assert_eq!(
            view.now.by_label("origin_peers"),
            [("https://c", 9.0), ("https://a b", 7.0)]
        );
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        let shown = terminal.backend().to_string();
        for text in ["here", "16", "100.0", "https://c", "https://a b"] {
            assert!(shown.contains(text), "{text}\n{shown}");
        }
        view.hear(Err(anyhow::anyhow!("gone away")), EVERY);
        view.hear(Ok(text(0, 5)), EVERY);
        assert!(view.rate("signals_relayed_total") == 0.0, "it began anew");
    }

    #[test]
    fn trouble_is_shown_and_a_small_terminal_is_no_trouble() {
        let mut view = View::of("here");
        view.hear(Err(anyhow::anyhow!("nobody answers")), EVERY);
        for (width, height) in [(80, 24), (10, 3), (1, 1)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| view.draw(frame)).unwrap();
            if width == 80 {
                assert!(terminal.backend().to_string().contains("nobody answers"));
            }
        }
    }
}
