//! Colours, and whether there are any: none when the stream is not a terminal, with NO_COLOR, or on a
//! terminal that has none.

use std::fmt::Display;

use anstyle::{AnsiColor, Style};

/// Colours of container names, told apart from each other and from red, which means trouble.
const CONTAINERS: [AnsiColor; 10] = [
    AnsiColor::Cyan,
    AnsiColor::Yellow,
    AnsiColor::Green,
    AnsiColor::Magenta,
    AnsiColor::Blue,
    AnsiColor::BrightCyan,
    AnsiColor::BrightYellow,
    AnsiColor::BrightGreen,
    AnsiColor::BrightMagenta,
    AnsiColor::BrightBlue,
];

/// The colours of one output stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Palette {
    is_colourful: bool,
}

impl Palette {
    #[cfg(test)]
    pub(crate) fn plain() -> Palette {
        Palette { is_colourful: false }
    }

    #[cfg(test)]
    pub(crate) fn colourful() -> Palette {
        Palette { is_colourful: true }
    }

    pub(crate) fn of_stdout() -> Palette {
        Palette {
            is_colourful: anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never,
        }
    }

    pub(crate) fn of_stderr() -> Palette {
        Palette {
            is_colourful: anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never,
        }
    }

    pub(crate) fn is_colourful(self) -> bool {
        self.is_colourful
    }

    /// The style of the container at that place in the manifest.
    pub(crate) fn container(self, index: usize) -> Style {
        self.only_if_colourful(CONTAINERS[index % CONTAINERS.len()].on_default())
    }

    pub(crate) fn failure(self, text: impl Display) -> String {
        self.paint(AnsiColor::Red.on_default().bold(), text)
    }

    pub(crate) fn warning(self, text: impl Display) -> String {
        self.paint(AnsiColor::Yellow.on_default().bold(), text)
    }

    pub(crate) fn success(self, text: impl Display) -> String {
        self.paint(AnsiColor::Green.on_default(), text)
    }

    pub(crate) fn strong(self, text: impl Display) -> String {
        self.paint(Style::new().bold(), text)
    }

    pub(crate) fn faint(self, text: impl Display) -> String {
        self.paint(Style::new().dimmed(), text)
    }

    fn only_if_colourful(self, style: Style) -> Style {
        if self.is_colourful { style } else { Style::new() }
    }

    fn paint(self, style: Style, text: impl Display) -> String {
        let style = self.only_if_colourful(style);
        format!("{style}{text}{style:#}")
    }
}
