//! The text of each command's help beside its flags: what the command does, its exit codes, and examples.

/// The text of one command's help.
pub(super) struct Page {
    /// Words of the command, such as `lock run`; empty for helm-guard itself.
    pub path: &'static str,
    /// What follows `Usage:`, where clap cannot derive it.
    pub usage: &'static str,
    /// Paragraphs for `--help`, after the sentence that `-h` shows.
    pub text: &'static str,
    /// Exit codes and their meaning.
    pub codes: &'static [(&'static str, &'static str)],
    /// What an example does, and its command line. `-h` shows the first two.
    pub examples: &'static [(&'static str, &'static str)],
    /// Flags that clap knows for this command but that have no effect on it, so its help leaves them out.
    pub hidden: &'static [&'static str],
    /// What the positional arguments of a Helm command are.
    pub arguments: &'static str,
}

const EMPTY: Page =
    Page { path: "", usage: "", text: "", codes: &[], examples: &[], hidden: &[], arguments: "" };

/// Text of `upgrade` and `install`, after their first sentence.
macro_rules! stages {
    ($helm:literal, $first:literal) => {
        concat!(
            $first,
            "\n\nhelm-guard takes the lock, repairs the release if it is stuck, asks the API server whether it would accept each \
             object, and then runs Helm. While Helm runs, its writes pass through a local proxy, which refuses them when the lock is \
             lost. If Helm fails, helm-guard prints the cause and the next command.\n\nAll flags of `",
            $helm,
            "` pass through. helm-guard's own flags may stand anywhere among them. With --dry-run, Helm runs alone: no lock, \
             nothing written."
        )
    };
}

const OK: (&str, &str) = ("0", "success, or skipped because a newer run exists");
const HELM: (&str, &str) = ("1, ...", "Helm's own exit code");
const USAGE: (&str, &str) = ("64", "the command line or a variable is wrong");
const CLUSTER: (&str, &str) = ("69", "the cluster cannot be reached");
const CLUSTER_OR_HELM: (&str, &str) = ("69", "the cluster or the Helm binary cannot be reached");
const LOCK_TIMEOUT: (&str, &str) = ("75", "the lock stayed taken for the whole --lock-timeout");
const LOCK_LOST: (&str, &str) = ("76", "the lock was lost while the command ran");
const REFUSED: (&str, &str) = ("77", "refused before anything was changed");
const NO_PERMISSION: (&str, &str) = ("77", "permission is missing");
const OUTDATED: (&str, &str) = ("78", "a newer run exists, with --outdated fail");
const CANCELLED: (&str, &str) = ("130, 143", "ended by SIGINT, SIGTERM");
const NO_RELEASE: (&str, &str) = ("1", "there is no such release");

const DEPLOY_CODES: &[(&str, &str)] =
    &[OK, HELM, USAGE, CLUSTER_OR_HELM, LOCK_TIMEOUT, LOCK_LOST, REFUSED, OUTDATED, CANCELLED];

/// Flags that only an upgrade or an install uses.
const PREFLIGHT: &[&str] = &["preflight", "recreate_statefulsets"];

/// All pages.
pub(super) const PAGES: &[Page] = &[
    Page {
        path: "",
        codes: &[
            ("0", "success"),
            ("1, ...", "Helm's own exit code, or the command failed"),
            USAGE,
            CLUSTER_OR_HELM,
            LOCK_TIMEOUT,
            LOCK_LOST,
            REFUSED,
            OUTDATED,
            CANCELLED,
        ],
        examples: &[
            (
                "Upgrade a release, or install it, and wait until its workloads are ready",
                "helm-guard upgrade web ./chart --install -n shop -f values.yaml --wait",
            ),
            ("List the releases that need attention", "helm-guard status -A"),
            ("Explain why a release does not work", "helm-guard diagnose web -n shop"),
        ],
        ..EMPTY
    },
    Page {
        path: "upgrade",
        usage: "helm-guard upgrade RELEASE CHART [FLAGS]",
        arguments: "RELEASE, CHART and the flags of `helm upgrade`",
        text: stages!("helm upgrade", "Run `helm upgrade` under the lock of the release."),
        codes: DEPLOY_CODES,
        examples: &[
            (
                "Upgrade a release, or install it, and wait until its workloads are ready",
                "helm-guard upgrade web ./chart --install -n shop -f values.yaml --wait",
            ),
            (
                "Wait at most two minutes for the lock, and write a report",
                "helm-guard upgrade web ./chart -n shop --lock-timeout 2m --report web.json",
            ),
            (
                "Only warn about objects that the API server would refuse",
                "helm-guard upgrade web ./chart -n shop --preflight warn",
            ),
        ],
        ..EMPTY
    },
    Page {
        path: "install",
        usage: "helm-guard install RELEASE CHART [FLAGS]",
        arguments: "RELEASE, CHART and the flags of `helm install`",
        text: stages!("helm install", "Run `helm install` under the lock of the release."),
        codes: DEPLOY_CODES,
        examples: &[
            (
                "Install a release, and wait until its workloads are ready",
                "helm-guard install web ./chart -n shop --create-namespace --wait",
            ),
            (
                "Uninstall a first install that died, then install again",
                "helm-guard install web ./chart -n shop --repair uninstall",
            ),
        ],
        ..EMPTY
    },
    Page {
        path: "rollback",
        usage: "helm-guard rollback RELEASE [REVISION] [FLAGS]",
        arguments: "RELEASE, REVISION, flags of `helm rollback`",
        text: "Run `helm rollback` under the lock of the release.\n\nWithout a REVISION, helm-guard rolls back to the last good revision before \
            the current one, even if Helm would choose a dead revision. All flags of `helm rollback` pass through.",
        codes: DEPLOY_CODES,
        examples: &[
            ("Roll back to the last good revision", "helm-guard rollback web -n shop --wait"),
            ("Roll back to revision 3", "helm-guard rollback web 3 -n shop --wait"),
        ],
        hidden: PREFLIGHT,
    },
    Page {
        path: "uninstall",
        usage: "helm-guard uninstall RELEASE [FLAGS]",
        arguments: "RELEASE and the flags of `helm uninstall`",
        text: "Run `helm uninstall` under the lock of the release.\n\nAn uninstall that died is continued. All flags of `helm uninstall` \
            pass through.",
        codes: DEPLOY_CODES,
        examples: &[
            (
                "Uninstall a release, and wait until its objects are gone",
                "helm-guard uninstall web -n shop --wait",
            ),
            ("Keep the history of the release", "helm-guard uninstall web -n shop --keep-history"),
        ],
        hidden: PREFLIGHT,
    },
    Page {
        path: "check",
        usage: "helm-guard check RELEASE CHART [FLAGS]",
        arguments: "RELEASE, CHART and the flags of `helm upgrade`",
        text: "Ask the API server whether it would accept a deploy, and change nothing.\n\nThis is the preflight of `helm-guard upgrade` \
            alone: it takes no lock and writes nothing. A release that does not exist yet is checked as a first install. Each finding \
            is printed with the commands that help; `-o json` prints the whole report.",
        codes: &[
            ("0", "no finding is certain"),
            ("1", "the chart does not render"),
            USAGE,
            CLUSTER_OR_HELM,
            ("77", "the API server would refuse an object"),
            CANCELLED,
        ],
        examples: &[
            ("Check an upgrade", "helm-guard check web ./chart -n shop -f values.yaml"),
            ("Print the whole report as JSON", "helm-guard check web ./chart -n shop -o json"),
        ],
        // Nothing is held and nothing is written.
        hidden: &[
            "lock",
            "lock_name",
            "lock_timeout",
            "lease_duration",
            "outdated",
            "fence",
            "dir",
            "keep",
            "redacted",
            "keepalive",
        ],
    },
    Page {
        path: "status",
        text: "Show a release's lock, health, history and proposed repair; without a name, list the releases that need attention.\n\n\
            States: `none`; `deployed`; `failed`; `uninstalled`; `uninstalling`; `stuck`: no run works on it; `deploying`: a run holds \
            its lock. The holder of a lock is watched for at most its lease duration; in a list only with --check.\n\n\
            Health is the worst of: Stuck; Missing: an object does not exist; Degraded: a workload is not ready, and its pods show why; \
            Progressing: a workload is not ready yet; Drifted (OutOfSync): a dry run of the manifest would change a live object; \
            Unknown: the workloads may not be read; Healthy.\n\n\
            A list reads labels and no records, so it takes a moment for thousands of releases. With --kubernetes-version it reads one \
            record of each release, about a thousand per second, and also lists the releases whose record has objects of APIs that \
            this version of Kubernetes removed. After an upgrade of the cluster, Helm fails on such a record, unless helm-guard runs it. \
            Without HELM_DRIVER, Secrets and ConfigMaps are listed. If not all namespaces may be listed at once, only the permitted \
            ones are listed.",
        codes: &[("0", "shown"), USAGE, CLUSTER, NO_PERMISSION],
        examples: &[
            ("List the releases that need attention", "helm-guard status -A"),
            ("Show one release", "helm-guard status web -n shop"),
            ("Show one release as JSON", "helm-guard status web -n shop -o json"),
            (
                "List the releases that an upgrade of the cluster to 1.25 would break",
                "helm-guard status -A --kubernetes-version 1.25",
            ),
        ],
        ..EMPTY
    },
    Page {
        path: "history",
        text: "List the revisions of a release and the last good one.\n\nA revision is good if its record says that its install, upgrade \
            or rollback completed. The status `superseded` alone does not prove that.",
        codes: &[("0", "listed"), NO_RELEASE, USAGE, CLUSTER, NO_PERMISSION],
        examples: &[
            ("List the revisions", "helm-guard history web -n shop"),
            ("Print them as JSON", "helm-guard history web -n shop -o json"),
        ],
        ..EMPTY
    },
    Page {
        path: "diagnose",
        text: "Explain why a release does not work: causes, evidence, commands.\n\nhelm-guard reads the release's pods, Jobs, hooks, claims \
            and events, and the last error of Helm in its record. It prints the causes, the most likely first, each with its evidence \
            and the commands that help. If no known cause fits, it prints what it found.\n\n\
            It takes no lock and changes nothing. A kind that may not be read is left out. Logs are cut, and values of Secrets and of \
            the release are removed from them.",
        codes: &[("0", "explained"), NO_RELEASE, USAGE, CLUSTER, NO_PERMISSION],
        examples: &[
            ("Explain why a release does not work", "helm-guard diagnose web -n shop"),
            ("Save the evidence for support", "helm-guard diagnose web -n shop --save web.json"),
        ],
        ..EMPTY
    },
    Page {
        path: "repair",
        text: "Repair a stuck release under its lock, without a deploy and without a chart.\n\n\
            `helm-guard upgrade` repairs a release by itself, so this command is needed only without a deploy.\n\n\
            By default only records change: a pending record becomes `failed`, or `deployed` if only Helm's last save is missing, and the \
            last good revision becomes `deployed` again if no revision is. No object is changed; the next `helm-guard upgrade` removes \
            what dead revisions left. A copy of the records is saved first.\n\n\
            A dead revision can be adopted if Helm's own apply, repeated as a dry run, would change nothing, every object is ready, \
            the hooks have ended, and no object of older revisions is left. `--strategy adopt` then marks it `deployed`; otherwise it \
            prints what is missing and changes nothing. It also adopts a revision that Helm itself marked `failed`.\n\n\
            After a rollback or an adoption, helm-guard waits, for at most --rollout-timeout, until the revision that it brought back \
            is ready.\n\n\
            A record that names APIs which the cluster does not serve stops every deploy. helm-guard replaces such an API by the \
            version that the cluster serves if the object exists, and otherwise removes the object from the record. `--strategy \
            map-apis` does only this; with --kubernetes-version it also works before the cluster is upgraded.\n\n\
            A release whose lock holder is alive is not repaired: helm-guard waits for its lock for --lock-timeout.\n\n\
            At a terminal, each stuck release is shown with its history and the possible repairs, and you choose one. Without RELEASE, \
            all stuck releases of the namespace are shown one by one, with -A those of all namespaces. Scripts use --yes and \
            --strategy.",
        codes: &[
            ("0", "no record is pending"),
            ("1", "a repair failed, or the revision that it brought back is not ready"),
            USAGE,
            CLUSTER_OR_HELM,
            LOCK_TIMEOUT,
            LOCK_LOST,
            REFUSED,
            CANCELLED,
        ],
        examples: &[
            ("Show what would be done", "helm-guard repair web -n shop --dry-run"),
            ("Set the records right", "helm-guard repair web -n shop --yes"),
            (
                "Mark the dead revision deployed, if all of it exists and is ready",
                "helm-guard repair web -n shop --strategy adopt",
            ),
            ("Roll back to the last good revision", "helm-guard repair web -n shop --strategy rollback"),
            (
                "Replace the APIs that Kubernetes 1.25 removed",
                "helm-guard repair web --strategy map-apis --kubernetes-version 1.25",
            ),
            ("Choose a repair for each stuck release of the cluster", "helm-guard repair -A"),
            ("Set the records of all stuck releases right", "helm-guard repair -A --yes"),
        ],
        ..EMPTY
    },
    Page {
        path: "backup",
        text: "Save the records and the manifest of a release.\n\nThe command prints the path of the file with the records, which \
            `helm-guard restore` reads. The manifest of the last good revision is in the same directory, in a file that ends with .yaml.\n\n\
            A redacted backup contains no values, no Secrets and no text that contains one of them. Only statuses are restored from it.",
        codes: &[("0", "saved"), NO_RELEASE, USAGE, CLUSTER, NO_PERMISSION],
        examples: &[
            ("Save a backup", "helm-guard backup web -n shop"),
            (
                "Save a backup without secrets",
                "helm-guard backup web -n shop --backup-redact --backup-dir backups",
            ),
        ],
        ..EMPTY
    },
    Page {
        path: "restore",
        text: "Restore records from a backup file, under the lock.\n\nThe whole file is checked first: all records are of one release, \
            each can be read, and each is what its name says. If a check fails, nothing is written.\n\n\
            Each record is written to its own namespace and storage, as it was. Other objects of the cluster do not change. Of a \
            redacted backup, only statuses are restored.",
        codes: &[
            ("0", "restored"),
            ("1", "not all records could be restored"),
            USAGE,
            CLUSTER,
            LOCK_TIMEOUT,
            LOCK_LOST,
            REFUSED,
            CANCELLED,
        ],
        examples: &[
            ("Restore a backup", "helm-guard restore backups/shop.web-3f9a1c07.json"),
            ("Save a backup and restore it", "helm-guard restore $(helm-guard backup web -n shop)"),
        ],
        ..EMPTY
    },
    Page {
        path: "settle",
        text: "Finish the work of a killed run of this job: set its pending record right and give its lock back.\n\n\
            The GitHub Action and the GitLab component run this command as their last step. If nothing is left to do, it does nothing.",
        codes: &[("0", "nothing is left to do"), ("1", "not all could be finished"), USAGE],
        examples: &[
            ("Finish the work of all killed runs of this CI job", "helm-guard settle"),
            ("Use another context of the kubeconfig", "helm-guard settle --kube-context staging"),
        ],
        ..EMPTY
    },
    Page {
        path: "unlock",
        text: "Free the lock of a dead run, and set its record right.\n\n`helm-guard upgrade` takes over from a dead run by itself, so \
            this command is needed only without a deploy.\n\n\
            helm-guard watches the holder for one lease duration. A holder that renews is alive, and keeps its lock. A silent holder \
            is dead: its lock is freed. After a copy of the records is saved, its pending record becomes `failed`, or `deployed` if \
            only Helm's last save is missing. Then the release is read again and its state is printed.\n\n\
            A run that waits prints the lock ID, and `helm-guard lock status` shows it. With --id only this lock is freed, never the \
            lock of the next run.\n\n\
            --force also takes the lock from a living run, which stops its Helm. It asks for confirmation at a terminal, and needs \
            --yes elsewhere. The record is set right one lease duration later, when that run can no longer write.",
        codes: &[
            ("0", "the lock is free and no record is pending"),
            ("1", "the lock is free, but a record could not be set right"),
            USAGE,
            ("69", "the cluster cannot be reached, or the records cannot be read"),
            REFUSED,
            CANCELLED,
        ],
        examples: &[
            ("Show the holder of the lock", "helm-guard unlock web -n shop"),
            ("Free the lock, if its run is dead", "helm-guard unlock web -n shop --id 3f9a1c07"),
            (
                "Free the lock, even if its run is alive",
                "helm-guard unlock web -n shop --id 3f9a1c07 --force",
            ),
        ],
        ..EMPTY
    },
    Page {
        path: "lock",
        text: "List locks, or run any command while holding one.\n\nThe lock of a release is a Lease in its namespace. `lock run` holds it \
            while a command runs, so that no other helm-guard changes the release while kubectl, terraform or a script does. `lock \
            acquire` and `lock release` do the same across processes.\n\n\
            A helm-guard command that runs under `lock run`, or with HELM_GUARD_LOCK_ID set to the ID that `lock acquire` printed, \
            works under that lock and does not wait for it. Two such commands run one after the other.",
        examples: &[
            ("List the locks of all namespaces", "helm-guard lock status -A"),
            (
                "Restart a workload while no deploy runs",
                "helm-guard lock run web -n shop -- kubectl rollout restart deploy/web -n shop",
            ),
        ],
        ..EMPTY
    },
    Page {
        path: "lock status",
        text: "List the locks and their holders.\n\nStates: `free`; `held`; with --check `alive` or `dead`, or `held` for a lock that \
            `lock acquire` took, which is not renewed. Times are by the holder's own clock.",
        codes: &[("0", "listed"), USAGE, CLUSTER, NO_PERMISSION],
        examples: &[
            ("List the locks of all namespaces", "helm-guard lock status -A"),
            ("Check whether the holder of one lock is alive", "helm-guard lock status web -n shop --check"),
            ("Print the lock as JSON", "helm-guard lock status web -n shop -o json"),
        ],
        ..EMPTY
    },
    Page {
        path: "lock acquire",
        text: "Take a release's lock for a fixed time and print its ID.\n\nThis lock is not renewed: it ends after --ttl, or with \
            `helm-guard lock release`. For longer work, use `helm-guard lock run`.",
        codes: &[("0", "taken"), USAGE, CLUSTER, LOCK_TIMEOUT, NO_PERMISSION],
        examples: &[
            ("Take the lock for five minutes", "id=$(helm-guard lock acquire web -n shop --ttl 5m)"),
            ("Deploy under it", "HELM_GUARD_LOCK_ID=$id helm-guard upgrade web ./chart -n shop"),
            ("Give it back", "helm-guard lock release web -n shop --id $id"),
        ],
        ..EMPTY
    },
    Page {
        path: "lock release",
        text: "Give back a lock that `lock acquire` took.\n\nIf the lock is free already, the command does nothing.",
        codes: &[
            ("0", "the lock is free"),
            USAGE,
            CLUSTER,
            ("76", "another run holds the lock by now"),
            ("77", "refused: the lock is not one of `lock acquire`, or permission is missing"),
        ],
        examples: &[("Give a lock back", "helm-guard lock release web -n shop --id 3f9a1c07")],
        ..EMPTY
    },
    Page {
        path: "lock run",
        usage: "helm-guard lock run RELEASE [FLAGS] -- COMMAND [ARGUMENTS]",
        text: "Run a command while holding a release's lock.\n\nThe lock is renewed while the command runs, and given back when it ends. \
            The command finds the lock's ID in HELM_GUARD_LOCK_ID, and receives SIGINT and SIGTERM. If the lock is lost, the command \
            gets SIGTERM, and SIGKILL after --stop-timeout.",
        codes: &[
            ("0, ...", "the exit code of the command"),
            USAGE,
            CLUSTER,
            LOCK_TIMEOUT,
            LOCK_LOST,
            NO_PERMISSION,
            ("126", "the command cannot be run"),
            ("127", "the command is not found"),
            ("128+N", "signal N ended the command"),
        ],
        examples: &[
            (
                "Restart a workload while no deploy runs",
                "helm-guard lock run web -n shop -- kubectl rollout restart deploy/web -n shop",
            ),
            ("Run terraform while no deploy runs", "helm-guard lock run web -n shop -- terraform apply"),
        ],
        ..EMPTY
    },
    Page {
        path: "action",
        text: "Run the command that the GitHub Action's inputs describe.\n\nThe inputs are the variables HELM_GUARD_INPUT_<NAME>, which the \
            action and the GitLab component set. docs/configuration.md lists them.",
        codes: &[("0, ...", "the exit code of the command that the input `command` names"), USAGE],
        examples: &[(
            "Run an upgrade as the action does",
            "HELM_GUARD_INPUT_RELEASE=web HELM_GUARD_INPUT_CHART=./chart helm-guard action",
        )],
        ..EMPTY
    },
];
