use super::*;

/// A machine that has one file.
struct Files;

impl Machine for Files {
    fn cannot_open(&self, path: &Path) -> Option<String> {
        (path != Path::new("/ca")).then(|| "no such file".to_owned())
    }

    fn token(&self, path: &Path) -> Result<String, String> {
        if path == Path::new("/token") { Ok("of-file\n".into()) } else { Err("no such file".into()) }
    }
}

fn kubeconfig() -> Kubeconfig {
    let text = "
current-context: prod
contexts:
- {name: prod, context: {cluster: prod, user: me, namespace: shop}}
- {name: bare, context: {cluster: gone, user: gone}}
- {name: plain, context: {cluster: plain, user: me}}
clusters:
- {name: prod, cluster: {server: 'https://prod:6443/k8s?x=1', certificate-authority-data: YQ==, tls-server-name: other}}
- {name: plain, cluster: {server: '10.0.0.1:6443', certificate-authority: /gone}}
users:
- {name: me, user: {token: secret, as: root, as-uid: u1}}
- {name: broken, user: {client-certificate: /gone}}
";
    Kubeconfig::read(text.as_bytes()).unwrap()
}

fn pod() -> Pod {
    Pod {
        service: ("fd00::1".into(), "443".into()),
        token: "of-pod".into(),
        token_file: "/pod/token".into(),
        ca_file: Some("/pod/ca".into()),
        namespace: "pods".into(),
    }
}

#[test]
fn flags_go_before_the_kubeconfig_as_in_helm() {
    let none = Overrides::default;
    let resolved = |overrides: Overrides| resolve(&kubeconfig(), &overrides, None, &Files);
    let access = |overrides: Overrides| resolved(overrides).unwrap().access;

    let prod = resolved(none()).unwrap();
    assert_eq!(
        (&*prod.access.host, &*prod.namespace, &*prod.context),
        ("https://prod:6443/k8s", "shop", "prod")
    );
    assert_eq!((&*prod.access.token, &*prod.access.server_name), ("secret", "other"));
    assert_eq!((&*prod.access.impersonate.user, &*prod.access.impersonate.uid), ("root", "u1"));

    let other = access(Overrides { server: "https://x".into(), ..none() });
    assert_eq!((&*other.host, &*other.server_name), ("https://x", ""), "another server has another name");
    let insecure = access(Overrides { insecure: true, ..none() });
    assert!(insecure.insecure && insecure.ca_data.is_empty(), "else both would be set");
    let ca = access(Overrides { ca_file: "/ca".into(), ..none() });
    assert!(ca.ca_data.is_empty() && ca.ca_file == Path::new("/ca"));

    let bare = access(Overrides { context: "bare".into(), ..none() });
    assert_eq!(bare.host, DEFAULT_SERVER, "a context may name a cluster that is not there");
    let missing = resolved(Overrides { context: "none".into(), ..none() });
    assert_eq!(missing.err(), Some(Unusable::NoContext("none".into())));
    let plain = resolved(Overrides { context: "plain".into(), ..none() });
    assert!(plain.is_err(), "a file of certificates that is not there, even without TLS");
}

#[test]
fn no_secret_goes_to_a_server_without_tls() {
    let overrides = Overrides { server: "10.0.0.1:6443".into(), token: "x".into(), ..Overrides::default() };
    let access = resolve(&kubeconfig(), &overrides, None, &Files).unwrap().access;
    assert_eq!((&*access.url().unwrap().text(), &*access.token), ("http://10.0.0.1:6443", ""));
}

#[test]
fn a_pod_reaches_its_own_cluster_where_nothing_else_is_said() {
    let empty = Kubeconfig::default();
    let resolved =
        |config: &Kubeconfig, overrides| resolve(config, &overrides, Some(&pod()), &Files).unwrap();
    let own = resolved(&empty, Overrides::default());
    assert_eq!(
        (&*own.access.host, &*own.namespace, &*own.context),
        ("https://[fd00::1]:443", "pods", "in-cluster")
    );
    assert_eq!((&*own.access.token, own.access.ca_file.to_str()), ("of-pod", Some("/pod/ca")));
    let token = resolved(&empty, Overrides { token: "x".into(), ..Overrides::default() });
    assert_eq!((&*token.access.token, token.access.token_file.to_str()), ("x", Some("")));

    let named = resolved(&empty, Overrides { server: "https://x".into(), ..Overrides::default() });
    assert_eq!((&*named.access.host, &*named.namespace), ("https://x", "pods"));
    let master = resolved(&empty, Overrides { default_server: "http://m".into(), ..Overrides::default() });
    assert_eq!(
        master.access.host, "https://[fd00::1]:443",
        "KUBERNETES_MASTER is the default, and a default gives way"
    );
    let other = resolved(&kubeconfig(), Overrides::default());
    assert_eq!((&*other.access.host, &*other.namespace), ("https://prod:6443/k8s", "shop"));
}

#[test]
fn what_contradicts_itself_is_refused_and_what_is_beside_it_does_not_matter() {
    let user = |user: &str| {
        let text = format!(
            "current-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\nclusters: [{{name: c, cluster: {{server: 'https://c'}}}}]\nusers: [{{name: u, user: {user}}}, {{name: x, user: {{exec: {{}}}}}}]\n"
        );
        resolve(&Kubeconfig::read(text.as_bytes()).unwrap(), &Overrides::default(), None, &Files).map(|_| ())
    };
    for (text, is_usable) in [
        ("{}", true),
        ("{token: a}", true),
        ("{token: a, username: b}", false),
        ("{token: a, password: b}", false),
        ("{username: a, password: b}", true),
        ("{tokenFile: /token}", true),
        ("{tokenFile: /gone}", false),
        ("{client-certificate-data: YQ==}", false),
        ("{client-certificate-data: YQ==, client-key-data: YQ==}", true),
        ("{client-key-data: YQ==, client-key: /gone}", true),
        ("{client-certificate-data: YQ==, client-key-data: YQ==, client-key: /ca}", false),
        ("{as-groups: [a]}", false),
        ("{as: x, as-groups: [a]}", true),
        ("{exec: {command: x, apiVersion: client.authentication.k8s.io/v1beta1}}", true),
        ("{exec: {command: x, apiVersion: client.authentication.k8s.io/v1}}", false),
        ("{exec: {command: x, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never}}", true),
        ("{exec: {command: x, apiVersion: client.authentication.k8s.io/v1, interactiveMode: never}}", false),
        ("{exec: {command: x, apiVersion: v, interactiveMode: Never}, auth-provider: {name: x}}", false),
    ] {
        assert_eq!(user(text).is_ok(), is_usable, "{text}: {:?}", user(text));
    }
}
