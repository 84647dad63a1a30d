//! pure: settings of the authorizer: whether clients need permissions, the super users, and the rule for resources without
//! access control entries.

use std::collections::BTreeSet;

use super::broker::BrokerSettings;

/// Setting that switches the authorizer on.
pub const AUTHORIZER: &str = "authorizer.class.name";
/// The only authorizer that is supported.
pub const STANDARD_AUTHORIZER: &str = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
/// The authorizer of Kafka clusters that used ZooKeeper.
const OF_ZOOKEEPER: &str = "kafka.security.authorizer.AclAuthorizer";

/// Principals that may do everything. Kafka reads `super.users` and `allow.everyone.if.no.acl.found` from its file too, but
/// neither is in a table of its settings.
pub const SUPER_USERS: &str = "super.users";
/// Whether everybody may do everything to a resource that has no access control entries.
pub const ALLOW_WITHOUT_ACLS: &str = "allow.everyone.if.no.acl.found";

/// Settings of a broker whose authorizer is on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthorizerSettings {
    /// Super users, each as `User:name`.
    pub super_users: BTreeSet<String>,
    pub allows_without_acls: bool,
}

impl AuthorizerSettings {
    /// The settings of the authorizer, or `None` if no authorizer is configured.
    ///
    /// Errors: the name of the setting and what is wrong with its value.
    pub fn of(settings: &BrokerSettings) -> Result<Option<Self>, (&'static str, String)> {
        match settings.get(AUTHORIZER).unwrap_or_default().trim() {
            "" => return Ok(None),
            STANDARD_AUTHORIZER => {}
            OF_ZOOKEEPER => {
                let why = format!(
                    "{AUTHORIZER}: {OF_ZOOKEEPER} went with ZooKeeper: name {STANDARD_AUTHORIZER}, which has the same rules"
                );
                return Err((AUTHORIZER, why));
            }
            other => {
                let why = format!(
                    "{AUTHORIZER}: {other} is not known: there is {STANDARD_AUTHORIZER}, or nothing for no authorizer"
                );
                return Err((AUTHORIZER, why));
            }
        }
        let named = settings.get(SUPER_USERS).unwrap_or_default();
        let named = named.split(';').map(str::trim);
        let super_users: BTreeSet<String> = named
            .filter(|one| !one.is_empty())
            .map(str::to_owned)
            .collect();
        if let Some(odd) = super_users.iter().find(|one| !one.contains(':')) {
            let why = format!(
                "{SUPER_USERS}: {odd} is no principal: write User:{odd}, and a semicolon between several"
            );
            return Err((SUPER_USERS, why));
        }
        Ok(Some(Self {
            super_users,
            allows_without_acls: settings.boolean(ALLOW_WITHOUT_ACLS),
        }))
    }

    /// Warnings about values that are valid but probably not intended.
    pub fn warnings(settings: &BrokerSettings) -> Vec<String> {
        let mut warnings = Vec::new();
        let is_on = matches!(Self::of(settings), Ok(Some(_)));
        for name in [SUPER_USERS, ALLOW_WITHOUT_ACLS] {
            if !is_on && settings.explicit(name).is_some() {
                warnings.push(format!("{name} has no effect without {AUTHORIZER}"));
            }
        }
        let users = settings.get(SUPER_USERS).unwrap_or_default();
        if is_on && users.contains(",User:") {
            warnings.push(format!(
                "{SUPER_USERS}: {users} is read as fewer users than it seems to name: semicolons stand between them, because names of certificates have commas"
            ));
        }
        let allows = settings.get(ALLOW_WITHOUT_ACLS).unwrap_or("false").trim();
        if is_on
            && !["true", "false"]
                .iter()
                .any(|word| word.eq_ignore_ascii_case(allows))
        {
            warnings.push(format!("{ALLOW_WITHOUT_ACLS}: {allows} is taken for false"));
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(all: &[(&str, &str)]) -> BrokerSettings {
        let all = all.iter();
        BrokerSettings::new(
            all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn the_authorizer_is_off_or_the_one_that_there_is() {
        assert_eq!(AuthorizerSettings::of(&settings(&[])), Ok(None));
        assert_eq!(
            AuthorizerSettings::of(&settings(&[(AUTHORIZER, " ")])),
            Ok(None)
        );
        let on = AuthorizerSettings::of(&settings(&[(AUTHORIZER, STANDARD_AUTHORIZER)]));
        assert_eq!(on, Ok(Some(AuthorizerSettings::default())));
        for other in [OF_ZOOKEEPER, "com.example.Authorizer"] {
            let (name, why) =
                AuthorizerSettings::of(&settings(&[(AUTHORIZER, other)])).unwrap_err();
            assert_eq!(name, AUTHORIZER);
            assert!(
                why.contains(other) && why.contains(STANDARD_AUTHORIZER),
                "{why}"
            );
        }
    }

    #[test]
    fn super_users_stand_between_semicolons() {
        let of = |users| {
            let all = settings(&[(AUTHORIZER, STANDARD_AUTHORIZER), (SUPER_USERS, users)]);
            let found = AuthorizerSettings::of(&all).map(Option::unwrap);
            let users = found.map(|on| on.super_users.into_iter().collect::<Vec<_>>().join("|"));
            (
                users.map_err(|(_, why)| why),
                AuthorizerSettings::warnings(&all).len(),
            )
        };
        assert_eq!(of(""), (Ok(String::new()), 0));
        assert_eq!(
            of("User:a; User:CN=b,O=c ;;"),
            (Ok("User:CN=b,O=c|User:a".to_owned()), 0)
        );
        assert_eq!(of("User:a,User:b"), (Ok("User:a,User:b".to_owned()), 1));
        let (refused, _) = of("a;User:b");
        assert!(refused.unwrap_err().contains("write User:a"));
    }

    #[test]
    fn what_has_no_effect_is_told() {
        let warnings = |all: &[(&str, &str)]| AuthorizerSettings::warnings(&settings(all));
        assert_eq!(warnings(&[(SUPER_USERS, "User:a")]).len(), 1);
        let on = (AUTHORIZER, STANDARD_AUTHORIZER);
        assert_eq!(warnings(&[on, (ALLOW_WITHOUT_ACLS, "yes")]).len(), 1);
        assert!(warnings(&[on, (ALLOW_WITHOUT_ACLS, "TRUE"), (SUPER_USERS, "User:a")]).is_empty());
    }
}
