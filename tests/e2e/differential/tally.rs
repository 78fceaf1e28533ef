//! Figures of a run: which failures of plain Helm were foreseen (recall), which refusals were right (precision).

use std::{collections::BTreeMap, fmt};

use serde_json::Value;

/// What became of one deploy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// Both succeed.
    Succeeds,
    /// Refused, and plain Helm fails.
    RefusedRightly,
    /// Refused, and plain Helm succeeds.
    RefusedWrongly,
    /// Both fail; a finding that is not certain warned.
    WarnedOf,
    /// Both fail, and Helm wrote nothing.
    SeenByHelm,
    /// Both fail, after Helm wrote something, and nothing was said before.
    NotForeseen,
}

/// Counts for one kind of finding: refused rightly, refused wrongly, warned and Helm failed, warned and Helm succeeded.
type Counts = [u32; 4];

#[derive(Debug, Default)]
pub struct Tally {
    pub stories: u32,
    deploys: BTreeMap<How, u32>,
    kinds: BTreeMap<String, Counts>,
    /// Refused deploys after which plain Helm left something, and how many objects and records that were.
    spared: (u32, usize),
    /// Refusals that name the object that plain Helm's error names.
    named: u32,
    /// By coupling.
    open: BTreeMap<String, u32>,
    pub faults: Vec<String>,
    pub unsteady: Vec<String>,
    pub other_steps: u32,
    /// What became of the last deploy.
    pub last: Option<How>,
}

impl Tally {
    pub fn fault(fault: String) -> Self {
        Self { faults: vec![fault], ..Self::default() }
    }

    pub fn add(&mut self, how: How, findings: &[Value]) {
        self.last = Some(how);
        *self.deploys.entry(how).or_default() += 1;
        let mut ids: Vec<(&str, usize)> = findings
            .iter()
            .filter_map(|finding| {
                let column = match (finding["certain"] == true, finding["doubt"].is_string(), how) {
                    (true, _, How::RefusedRightly) => 0,
                    (true, _, How::RefusedWrongly) => 1,
                    (_, true, How::Succeeds) => 3,
                    (_, true, How::WarnedOf) => 2,
                    _ => return None,
                };
                Some((finding["id"].as_str()?, column))
            })
            .collect();
        ids.sort_unstable();
        ids.dedup();
        for (id, column) in ids {
            self.kinds.entry(id.to_owned()).or_default()[column] += 1;
        }
    }

    /// What plain Helm left behind where helm-guard refused.
    pub fn spare(&mut self, left: usize, named: bool) {
        self.spared.0 += u32::from(left > 0);
        self.spared.1 += left;
        self.named += u32::from(named);
    }

    pub fn not_foreseen(&mut self, why: String) {
        *self.open.entry(why).or_default() += 1;
    }

    pub fn merge(&mut self, other: Self) {
        self.stories += other.stories;
        self.other_steps += other.other_steps;
        self.spared = (self.spared.0 + other.spared.0, self.spared.1 + other.spared.1);
        self.named += other.named;
        self.faults.extend(other.faults);
        self.unsteady.extend(other.unsteady);
        for (how, count) in other.deploys {
            *self.deploys.entry(how).or_default() += count;
        }
        for (why, count) in other.open {
            *self.open.entry(why).or_default() += count;
        }
        for (id, counts) in other.kinds {
            let own = self.kinds.entry(id).or_default();
            own.iter_mut().zip(counts).for_each(|(own, more)| *own += more);
        }
    }

    fn count(&self, how: How) -> u32 {
        self.deploys.get(&how).copied().unwrap_or_default()
    }
}

fn percent(part: u32, of: u32) -> String {
    if of == 0 { "-".to_owned() } else { format!("{:.1} %", f64::from(part) * 100.0 / f64::from(of)) }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [right, wrong, warned, seen, open] =
            [How::RefusedRightly, How::RefusedWrongly, How::WarnedOf, How::SeenByHelm, How::NotForeseen]
                .map(|how| self.count(how));
        let all: u32 = self.deploys.values().sum();
        let late = right + warned + open;
        writeln!(
            out,
            "{} stories, {all} deploys, {} rollbacks and uninstalls",
            self.stories, self.other_steps
        )?;
        writeln!(
            out,
            "plain Helm succeeds: {}; of these refused by helm-guard: {wrong}",
            self.count(How::Succeeds) + wrong
        )?;
        writeln!(out, "plain Helm fails: {}", right + warned + seen + open)?;
        writeln!(out, "  refused: {right} (precision {})", percent(right, right + wrong))?;
        writeln!(
            out,
            "    in {} of these plain Helm left {} objects and records changed; in {} its error names the object of the finding",
            self.spared.0, self.spared.1, self.named
        )?;
        writeln!(out, "  seen by Helm itself before it writes: {seen}")?;
        writeln!(out, "  warned of: {warned}")?;
        writeln!(out, "  not foreseen: {open}")?;
        writeln!(
            out,
            "  recall, of those that Helm does not see itself: refused {}, refused or warned of {}",
            percent(right, late),
            percent(right + warned, late)
        )?;
        writeln!(
            out,
            "| finding | refused, Helm fails | refused, Helm succeeds | warned, Helm fails | warned, Helm succeeds |\n|---|---|---|---|---|"
        )?;
        for (id, [a, b, c, d]) in &self.kinds {
            writeln!(out, "| `{id}` | {a} | {b} | {c} | {d} |")?;
        }
        for (why, count) in &self.open {
            writeln!(out, "not foreseen, {count}: {why}")?;
        }
        for story in &self.unsteady {
            writeln!(out, "not the same the second time: {story}")?;
        }
        write!(out, "{} differences", self.faults.len())
    }
}
