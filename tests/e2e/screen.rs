//! A terminal for commands that draw: what stands on its screen, as a person sees it.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{Read, Write},
    process::{Child, Command, Stdio},
};

use rustix::{
    fs::{Mode, OFlags, open},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

/// What stands on a screen. Knows the sequences that `indicatif` draws with.
#[derive(Default)]
pub struct Screen {
    lines: Vec<Vec<char>>,
    row: usize,
    column: usize,
    width: usize,
    /// A begun sequence, or a begun character.
    begun: Vec<u8>,
    /// Colours and the like that were ever seen, by their numbers.
    pub colors: BTreeSet<usize>,
}

impl Screen {
    fn of(width: usize) -> Self {
        Self { width, ..Self::default() }
    }

    /// All of it, also what has scrolled away.
    pub fn text(&self) -> String {
        let lines =
            self.lines.iter().map(|line| line.iter().collect::<String>().trim_end().to_owned() + "\n");
        lines.collect::<String>().trim_end().to_owned() + "\n"
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.begun.push(*byte);
            match self.begun[..] {
                [0x1b] | [0x1b, b'['] => {}
                [0x1b, b'[', .., last] if !last.is_ascii_alphabetic() => {}
                [0x1b, b'[', .., last] => {
                    let digits = String::from_utf8(self.begun[2..self.begun.len() - 1].to_vec()).unwrap();
                    self.control(last, digits.parse().unwrap_or(1));
                    self.begun.clear();
                }
                _ => {
                    if let Ok(text) = std::str::from_utf8(&self.begun) {
                        let letter = text.chars().next().unwrap();
                        self.begun.clear();
                        self.put(letter);
                    }
                }
            }
        }
    }

    fn put(&mut self, letter: char) {
        match letter {
            '\r' => self.column = 0,
            '\n' => self.row += 1,
            letter => {
                if self.column == self.width {
                    (self.row, self.column) = (self.row + 1, 0);
                }
                let column = self.column;
                let line = self.line();
                line.resize(line.len().max(column + 1), ' ');
                line[column] = letter;
                self.column += 1;
            }
        }
    }

    fn control(&mut self, command: u8, count: usize) {
        match command {
            b'A' => self.row = self.row.saturating_sub(count),
            b'B' => self.row += count,
            b'C' => self.column += count,
            b'D' => self.column = self.column.saturating_sub(count),
            b'K' if count == 2 => self.line().clear(),
            b'K' => {
                let column = self.column;
                self.line().truncate(column);
            }
            b'J' => {
                let (row, column) = (self.row, self.column);
                self.line().truncate(column);
                self.lines.truncate(row + 1);
            }
            // Colours, and whether the cursor is seen.
            b'm' => drop(self.colors.insert(count)),
            b'h' | b'l' => {}
            other => panic!("a sequence that this screen does not know: {}", char::from(other)),
        }
    }

    fn line(&mut self) -> &mut Vec<char> {
        let rows = self.lines.len().max(self.row + 1);
        self.lines.resize(rows, Vec::new());
        &mut self.lines[self.row]
    }
}

/// Both sides of a new terminal: what a person sees, and what a command has. What another story starts at the same time inherits
/// neither; else the terminal would be over only when that has ended, which may be minutes later.
pub fn pseudo_terminal() -> (File, File) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    (File::from(master), File::from(slave))
}

/// The same command in a session of its own, whose terminal is its standard input. Without that, a Ctrl-C that comes while the
/// command does not read keys is lost.
pub fn in_session(command: &Command) -> Command {
    let mut session = Command::new("setsid");
    session.arg("--ctty").arg(command.get_program()).args(command.get_args()).env_clear();
    session.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(directory) = command.get_current_dir() {
        session.current_dir(directory);
    }
    session
}

/// A command at a terminal.
pub struct Terminal {
    child: Child,
    master: File,
    screen: Screen,
}

impl Terminal {
    /// Starts it on so many rows and columns.
    pub fn start(mut command: Command, (rows, columns): (u16, u16)) -> Self {
        let (master, slave) = pseudo_terminal();
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).unwrap();
        let end = |side: &File| Stdio::from(side.try_clone().unwrap());
        if !command.get_envs().any(|(name, _)| name == "TERM") {
            command.env("TERM", "xterm");
        }
        command.stdin(end(&slave)).stdout(end(&slave)).stderr(end(&slave));
        let child = command.spawn().unwrap();
        // The terminal is over when no process has its other side.
        drop((command, slave));
        Self { child, master, screen: Screen::of(columns.into()) }
    }

    /// The same with the terminal as the command's own, as a shell starts it: keys like Ctrl-C reach it.
    pub fn foreground(command: &Command, size: (u16, u16)) -> Self {
        Self::start(in_session(command), size)
    }

    /// Presses keys. That they are echoed is all that comes of them: the command is not the terminal's own.
    pub fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    pub fn child(&self) -> &Child {
        &self.child
    }

    /// Reads on until the screen is as wanted. One that never is ends with the command.
    #[track_caller]
    pub fn until(&mut self, done: impl Fn(&Screen) -> bool) -> String {
        while self.read() {
            if done(&self.screen) {
                return self.screen.text();
            }
        }
        panic!("the command ended: {}", self.screen.text());
    }

    /// The command's end, and what then stands on the screen.
    pub fn end(mut self) -> (Option<i32>, String) {
        while self.read() {}
        (self.child.wait().unwrap().code(), self.screen.text())
    }

    fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        match self.master.read(&mut buffer) {
            Ok(read @ 1..) => {
                self.screen.write(&buffer[..read]);
                true
            }
            _ => false,
        }
    }
}

#[test]
fn a_screen_shows_what_was_drawn_last() {
    let mut screen = Screen::of(10);
    screen.write("one\r\ntwo\r\n\u{2839} three\r".as_bytes());
    screen.write(b"\x1b[1A\x1b[2Kfour\x1b[1B\r\x1b[2Kfive 5\x1b[3D\x1b[K\x1b[1m!\x1b[0m");
    assert_eq!(screen.text(), "one\nfour\nfiv!\n");
    screen.write("\r\n0123456789ab\u{1b}[1A\r\u{1b}[J".as_bytes());
    assert_eq!(screen.text(), "one\nfour\nfiv!\n");
}
