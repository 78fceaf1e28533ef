use super::*;

/// The words of every command, such as `lock run`; that of helm-guard itself is empty.
fn paths() -> Vec<String> {
    fn collect(command: &clap::Command, path: &str, paths: &mut Vec<String>) {
        paths.push(path.to_owned());
        for child in command.get_subcommands() {
            collect(child, format!("{path} {}", child.get_name()).trim_start(), paths);
        }
    }
    let mut paths = Vec::new();
    collect(&Cli::command(), "", &mut paths);
    paths
}

/// What a terminal of `width` columns shows for the help of a command.
fn help(path: &str, length: Length, width: usize) -> String {
    let flag = if length == Length::Short { "-h" } else { "--help" };
    let argv = ["helm-guard"].into_iter().chain(path.split_whitespace()).chain([flag]);
    let shown = command(length).term_width(width).try_get_matches_from(argv).unwrap_err();
    assert!(!shown.use_stderr(), "{shown}");
    shown.to_string()
}

#[test]
fn the_help_of_every_command() {
    for path in paths() {
        let text =
            format!("{}\n{:=<80}\n{}", help(&path, Length::Short, 80), "", help(&path, Length::Long, 80));
        insta::assert_snapshot!(format!("help {path}").trim().replace(' ', "_"), text);
    }
}

#[test]
fn a_short_help_fits_a_screen() {
    for path in paths() {
        let text = help(&path, Length::Short, 80);
        let lines = text.trim_end().lines().count();
        assert!(lines <= 40, "{path}: {lines} lines\n{text}");
    }
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let mut wide = Vec::new();
    for (path, length) in paths().iter().flat_map(|path| [(path, Length::Short), (path, Length::Long)]) {
        let text = help(path, length, 80);
        wide.extend(text.lines().filter(|line| line.chars().count() > 80).map(str::to_owned));
    }
    let examples = PAGES.iter().flat_map(|page| page.examples);
    let texts = examples.flat_map(|(what, line)| [format!("  # {what}"), format!("  {line}")]);
    wide.extend(texts.filter(|text| text.len() > 80));
    assert!(wide.is_empty(), "{wide:#?}");
}

/// A command without a page has no examples, and one that is in no group is hard to find.
#[test]
fn every_command_has_a_page_and_a_group() {
    for path in paths() {
        let page = PAGES.iter().find(|page| page.path == path);
        let page = page.unwrap_or_else(|| panic!("{path}: add its page to src/cli/pages.rs"));
        assert!(!page.examples.is_empty(), "{path}: no example");
        assert!(!page.codes.is_empty() || path == "lock", "{path}: no exit codes");
        assert!(!page.text.is_empty() || path.is_empty(), "{path}: no text");
    }
    let known = paths();
    let unknown: Vec<_> =
        PAGES.iter().map(|page| page.path).filter(|path| !known.iter().any(|one| one == path)).collect();
    assert_eq!(unknown, [""; 0], "pages of no command");

    let list = help("", Length::Long, 80);
    for path in known.iter().filter(|path| !path.is_empty() && !path.contains(' ')) {
        let lines = list.lines().filter(|line| line.starts_with(&format!("  {path} "))).count();
        assert_eq!(lines, 1, "{path} is listed once\n{list}");
    }
    let in_groups = GROUPS.iter().flat_map(|(_, names)| *names);
    for name in in_groups {
        assert!(known.iter().any(|path| path == name), "{name}: in a group, and no command");
    }
}

/// Examples are command lines that helm-guard accepts.
#[test]
fn every_example_is_accepted() {
    for page in PAGES {
        for (what, line) in page.examples {
            for call in line.split("helm-guard ").skip(1) {
                let call = call.split(')').next().unwrap().replace("$(", "backup.json");
                let call = call.replace("$id", "3f9a1c07");
                let call = if call.trim().is_empty() { "status".to_owned() } else { call };
                let argv = ["helm-guard"].into_iter().chain(call.split_whitespace()).map(OsString::from);
                assert!(parse(argv.clone()).is_ok(), "{what}: {line}: {:?}", parse(argv).err());
            }
        }
    }
}

#[test]
fn every_flag_is_in_a_group_and_begins_with_a_capital() {
    fn check(command: &clap::Command) {
        for arg in command.get_arguments() {
            let text = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let name = format!("{} {}", command.get_name(), arg.get_id());
            assert!(text.chars().next().is_some_and(char::is_uppercase), "{name}: {text:?}");
            assert!(!text.ends_with('.') && text.len() <= 64, "{name}: {text:?}");
        }
        command.get_subcommands().for_each(check);
    }
    check(&Cli::command());
}

#[test]
fn a_long_help_names_the_variable_of_a_flag() {
    let text = help("upgrade", Length::Long, 80);
    for own in &OWN_FLAGS {
        let variable = format!("[env: {}]", variable(own.name).unwrap());
        assert!(text.contains(&variable), "{variable}\n{text}");
    }
    assert!(!help("unlock", Length::Long, 80).contains("HELM_GUARD_ID"), "it has no variable");
}

#[test]
fn help_is_as_long_as_it_is_asked_for() {
    for (line, lines) in [
        ("helm-guard repair -h", 10..=40),
        ("helm-guard repair --help", 100..=400),
        ("helm-guard repair web -n shop -h", 10..=40),
        ("helm-guard help repair", 100..=400),
    ] {
        let shown = parse(line.split(' ').map(OsString::from)).unwrap_err().to_string();
        assert!(lines.contains(&shown.lines().count()), "{line}: {shown}");
    }
}
