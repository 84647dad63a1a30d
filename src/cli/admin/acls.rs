//! `kafka-acls`. Kafka's `AclCommand`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::process::ExitCode;

use clap::Args;

use super::client::{Cluster, Connection, Failure, accepted, run as run_work};
use crate::security::acl::{
    CLUSTER_NAME, EVERYTHING, Operation, PatternType, Permission, ResourceType,
};
use crate::wire::message::create_acls::{AclCreation, CreateAclsRequest};
use crate::wire::message::delete_acls::{DeleteAclsFilter, DeleteAclsRequest};
use crate::wire::message::describe_acls::DescribeAclsRequest;

/// List, add and remove access control lists (ACLs)
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  monedula acls --bootstrap-server localhost:9092 --list
  monedula acls --bootstrap-server localhost:9092 --add --allow-principal User:ann --producer --topic orders
  monedula acls --bootstrap-server localhost:9092 --add --allow-principal User:bob --consumer --topic orders --group billing
  monedula acls --bootstrap-server localhost:9092 --add --deny-principal 'User:*' --operation Write --topic audit- --resource-pattern-type prefixed
  monedula acls --bootstrap-server localhost:9092 --remove --allow-principal User:ann --operation Read --topic orders --force")]
#[group(skip)]
pub struct Acls {
    #[command(flatten)]
    connection: Connection,
    /// Add ACLs
    #[arg(long, help_heading = ACTION)]
    add: bool,
    /// Remove ACLs: those named, or all of the resources named
    #[arg(long, help_heading = ACTION)]
    remove: bool,
    /// List ACLs: those of the resources named, or all
    #[arg(long, help_heading = ACTION)]
    list: bool,
    /// A topic, or * for all
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = RESOURCE)]
    topic: Vec<String>,
    /// A group, or * for all
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = RESOURCE)]
    group: Vec<String>,
    /// The cluster
    #[arg(long, help_heading = RESOURCE)]
    cluster: bool,
    /// A transactional id, or * for all
    #[arg(long, value_name = "ID", value_delimiter = ',', help_heading = RESOURCE)]
    transactional_id: Vec<String>,
    /// A delegation token, or * for all
    #[arg(long, value_name = "ID", value_delimiter = ',', help_heading = RESOURCE)]
    delegation_token: Vec<String>,
    /// A user for whom others make tokens, or * for all
    #[arg(long, value_name = "PRINCIPAL", value_delimiter = ',', help_heading = RESOURCE)]
    user_principal: Vec<String>,
    /// How names stand for resources: literal or prefixed; any and match only find ACLs
    #[arg(long, value_name = "TYPE", default_value = "literal", help_heading = RESOURCE)]
    resource_pattern_type: String,
    /// A principal such as User:ann that is allowed to; may be given several times
    #[arg(long, value_name = "PRINCIPAL", help_heading = ENTRY)]
    allow_principal: Vec<String>,
    /// A principal that is denied; may be given several times
    #[arg(long, value_name = "PRINCIPAL", help_heading = ENTRY)]
    deny_principal: Vec<String>,
    /// An address from which allowed principals come; without this option, any
    #[arg(long, value_name = "ADDRESS", help_heading = ENTRY)]
    allow_host: Vec<String>,
    /// An address from which denied principals come; without this option, any
    #[arg(long, value_name = "ADDRESS", help_heading = ENTRY)]
    deny_host: Vec<String>,
    /// An operation such as Read, Write, Describe or AlterConfigs; without this option, All
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = ENTRY)]
    operation: Vec<String>,
    /// What producers need: Write, Describe and Create on topics, Write and Describe on transactional ids
    #[arg(long, help_heading = ENTRY)]
    producer: bool,
    /// What consumers need: Read and Describe on topics, Read on groups
    #[arg(long, help_heading = ENTRY)]
    consumer: bool,
    /// What idempotent producers before 2.8 need: IdempotentWrite on the cluster
    #[arg(long, help_heading = ENTRY)]
    idempotent: bool,
    /// List only ACLs of this principal; may be given several times
    #[arg(long, value_name = "PRINCIPAL")]
    principal: Vec<String>,
    /// Remove without asking
    #[arg(long)]
    force: bool,
}

const ACTION: &str = "Action";
const RESOURCE: &str = "Resources";
const ENTRY: &str = "What is allowed or denied";

/// A resource pattern: a type of resource and a name that stands for some resources of the type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pattern {
    resource: ResourceType,
    pattern: PatternType,
    name: String,
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ResourcePattern(resourceType={}, name={}, patternType={})",
            self.resource.name(),
            self.name,
            self.pattern.name()
        )
    }
}

/// An access control entry without its resource pattern. `operation` and `permission` are numbers, because this program may not
/// know them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    principal: String,
    host: String,
    operation: i8,
    permission: i8,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "(principal={}, host={}, operation={}, permissionType={})",
            self.principal,
            self.host,
            Operation::name_of(self.operation),
            Permission::name_of(self.permission)
        )
    }
}

type Entries = BTreeMap<Pattern, BTreeSet<Entry>>;

impl Acls {
    pub fn run(&self) -> ExitCode {
        run_work(async {
            match (self.add, self.remove, self.list) {
                (true, false, false) => self.add().await,
                (false, true, false) => self.remove().await,
                (false, false, true) => {
                    self.check_convenience()?;
                    let cluster = self.connection.connect().await?;
                    self.list(&cluster).await
                }
                _ => {
                    Err("Command must include exactly one action: --list, --add, --remove.".into())
                }
            }
        })
    }

    async fn add(&self) -> Result<(), Failure> {
        let wanted = self.entries(true)?;
        let cluster = self.connection.connect().await?;
        for (pattern, entries) in &wanted {
            let there = found(&cluster, Some(pattern)).await?;
            let there = there.get(pattern);
            let is_there = |entry: &Entry| there.is_some_and(|there| there.contains(entry));
            let (old, new): (BTreeSet<Entry>, _) = entries.iter().cloned().partition(is_there);
            for entry in old {
                println!("Acl (pattern={pattern}, entry={entry}) already exists.");
            }
            if new.is_empty() {
                continue;
            }
            println!(
                "Adding ACLs for resource `{pattern}`: \n {} \n",
                lines(&new)
            );
            let creations = new.iter().map(|entry| AclCreation {
                resource_type: pattern.resource.code(),
                resource_name: pattern.name.as_str().into(),
                resource_pattern_type: pattern.pattern.code(),
                principal: entry.principal.as_str().into(),
                host: entry.host.as_str().into(),
                operation: entry.operation,
                permission_type: entry.permission,
            });
            let request = CreateAclsRequest {
                creations: creations.collect(),
            };
            for result in cluster.call(&request).await?.results {
                accepted(result.error_code, result.error_message.as_deref())?;
            }
        }
        Ok(())
    }

    async fn remove(&self) -> Result<(), Failure> {
        let wanted = self.entries(false)?;
        let cluster = self.connection.connect().await?;
        for (pattern, entries) in &wanted {
            let question = match entries.is_empty() {
                true => format!(
                    "Are you sure you want to delete all ACLs for resource filter `{pattern}`? (y/n)"
                ),
                false => format!(
                    "Are you sure you want to remove ACLs: \n {} \n from resource filter `{pattern}`? (y/n)",
                    lines(entries)
                ),
            };
            if !self.is_confirmed(&question) {
                continue;
            }
            let filter = |entry: Option<&Entry>| DeleteAclsFilter {
                resource_type_filter: pattern.resource.code(),
                resource_name_filter: Some(pattern.name.as_str().into()),
                pattern_type_filter: pattern.pattern.code(),
                principal_filter: entry.map(|entry| entry.principal.as_str().into()),
                host_filter: entry.map(|entry| entry.host.as_str().into()),
                operation: entry.map_or(Operation::Any.code(), |entry| entry.operation),
                permission_type: entry.map_or(Permission::Any.code(), |entry| entry.permission),
            };
            let filters = match entries.is_empty() {
                true => vec![filter(None)],
                false => entries.iter().map(|entry| filter(Some(entry))).collect(),
            };
            let answer = cluster.call(&DeleteAclsRequest { filters }).await?;
            for result in answer.filter_results {
                accepted(result.error_code, result.error_message.as_deref())?;
            }
        }
        Ok(())
    }

    fn is_confirmed(&self, question: &str) -> bool {
        if self.force {
            return true;
        }
        println!("{question}");
        let mut answer = String::new();
        let read = io::stdin().read_line(&mut answer);
        read.is_ok() && answer.trim().eq_ignore_ascii_case("y")
    }

    async fn list(&self, cluster: &Cluster) -> Result<(), Failure> {
        let patterns = self.patterns()?;
        let filters: Vec<Option<&Pattern>> = match patterns.is_empty() {
            true => vec![None],
            false => patterns.iter().map(Some).collect(),
        };
        let mut all = Entries::new();
        for filter in filters {
            for (pattern, entries) in found(cluster, filter).await? {
                all.entry(pattern).or_default().extend(entries);
            }
        }
        if self.principal.is_empty() {
            print(&all);
        }
        for principal in &self.principal {
            println!("ACLs for principal `{principal}`");
            let of_principal = all.iter().map(|(pattern, entries)| {
                let own = entries.iter().filter(|entry| entry.principal == *principal);
                (pattern.clone(), own.cloned().collect::<BTreeSet<_>>())
            });
            print(&of_principal.filter(|(_, own)| !own.is_empty()).collect());
        }
        Ok(())
    }

    /// Refuses other options beside `--producer` and `--consumer`, which determine the operations themselves.
    fn check_convenience(&self) -> Result<(), Failure> {
        let says_itself = !self.operation.is_empty()
            || !self.deny_principal.is_empty()
            || !self.deny_host.is_empty();
        if (self.producer || self.consumer) && says_itself {
            return Err("Option --producer and --consumer can not be used with --operation, --deny-principal and --deny-host".into());
        }
        if self.idempotent && !self.producer {
            return Err("The --idempotent option is only available if --producer is set".into());
        }
        Ok(())
    }

    /// The resource patterns that the options name.
    fn patterns(&self) -> Result<BTreeSet<Pattern>, Failure> {
        let asked = &self.resource_pattern_type;
        let mut kinds = PatternType::ALL.iter();
        let kind = kinds.find(|kind| kind.name().eq_ignore_ascii_case(asked));
        let kind = kind.ok_or_else(|| {
            format!("{asked} is no resource pattern type: literal, prefixed, any or match")
        })?;
        let mut patterns = BTreeSet::new();
        let mut add = |resource, names: &[String]| {
            patterns.extend(names.iter().map(|name| Pattern {
                resource,
                pattern: *kind,
                name: name.trim().to_owned(),
            }));
        };
        add(ResourceType::Topic, &self.topic);
        add(ResourceType::Group, &self.group);
        add(ResourceType::TransactionalId, &self.transactional_id);
        add(ResourceType::DelegationToken, &self.delegation_token);
        add(ResourceType::User, &self.user_principal);
        if *kind == PatternType::Literal && (self.cluster || self.idempotent) {
            add(ResourceType::Cluster, &[CLUSTER_NAME.to_owned()]);
        }
        Ok(patterns)
    }

    /// The entries that the options name, by resource pattern.
    fn entries(&self, adds: bool) -> Result<Entries, Failure> {
        self.check_convenience()?;
        let patterns = self.patterns()?;
        if patterns.is_empty() {
            return Err("You must provide at least one resource: --topic <topic> or --cluster or --group <group> or --delegation-token <Delegation Token ID>".into());
        }
        let finds = |one: &Pattern| matches!(one.pattern, PatternType::Any | PatternType::Match);
        if adds && patterns.iter().any(finds) {
            return Err("A '--resource-pattern-type' value of 'Any' or 'Match' is not valid when adding acls.".into());
        }
        let whoever = self.allow_principal.iter().chain(&self.deny_principal);
        if adds && whoever.clone().next().is_none() {
            return Err("You must specify one of: --allow-principal, --deny-principal when trying to add ACLs.".into());
        }
        if let Some(odd) = whoever
            .chain(&self.principal)
            .find(|one| !one.contains(':'))
        {
            return Err(format!("{odd} is no principal: write User:{odd}").into());
        }
        let mut entries = Entries::new();
        for pattern in patterns {
            let operations = self.operations(&pattern)?;
            if operations.is_empty() {
                continue;
            }
            let allowed = (&self.allow_principal, &self.allow_host, Permission::Allow);
            let denied = (&self.deny_principal, &self.deny_host, Permission::Deny);
            let mut wanted = BTreeSet::new();
            for (principals, hosts, permission) in [allowed, denied] {
                let everywhere = [EVERYTHING.to_owned()];
                let hosts = match hosts.is_empty() {
                    true => &everywhere[..],
                    false => hosts,
                };
                for (principal, host) in principals
                    .iter()
                    .flat_map(|one| hosts.iter().map(move |host| (one, host)))
                {
                    wanted.extend(operations.iter().map(|operation| Entry {
                        principal: principal.trim().to_owned(),
                        host: host.trim().to_owned(),
                        operation: operation.code(),
                        permission: permission.code(),
                    }));
                }
            }
            entries.insert(pattern, wanted);
        }
        Ok(entries)
    }

    /// The operations to allow or deny on a resource pattern.
    fn operations(&self, pattern: &Pattern) -> Result<BTreeSet<Operation>, Failure> {
        use Operation::{All, Create, Describe, IdempotentWrite, Read, Write};
        let mut operations = BTreeSet::new();
        if self.producer {
            operations.extend(match pattern.resource {
                ResourceType::Topic => &[Write, Describe, Create][..],
                ResourceType::TransactionalId => &[Write, Describe],
                ResourceType::Cluster if self.idempotent => &[IdempotentWrite],
                _ => &[],
            });
        }
        if self.consumer {
            operations.extend(match pattern.resource {
                ResourceType::Topic => &[Read, Describe][..],
                ResourceType::Group => &[Read],
                _ => &[],
            });
        }
        if self.producer || self.consumer {
            return Ok(operations);
        }
        if self.operation.is_empty() {
            operations.insert(All);
        }
        for name in &self.operation {
            let plain = |text: &str| text.replace('_', "").to_ascii_lowercase();
            let mut all = Operation::ALL.iter();
            let found = all.find(|one| plain(one.name()) == plain(name.trim()));
            let found = *found.ok_or_else(|| format!("{name} is no operation"))?;
            let possible = pattern.resource.operations();
            if found != All && !possible.contains(&found) {
                let names = possible.iter().map(|one| one.name());
                let names: Vec<_> = names.chain([All.name()]).collect();
                return Err(format!(
                    "ResourceType {} only supports operations {}",
                    pattern.resource.name(),
                    names.join(", ")
                )
                .into());
            }
            operations.insert(found);
        }
        Ok(operations)
    }
}

/// The entries that match a resource pattern, or all entries.
async fn found(cluster: &Cluster, filter: Option<&Pattern>) -> Result<Entries, Failure> {
    let request = DescribeAclsRequest {
        resource_type_filter: filter.map_or(ResourceType::Any, |of| of.resource).code(),
        resource_name_filter: filter.map(|of| of.name.as_str().into()),
        pattern_type_filter: filter.map_or(PatternType::Any, |of| of.pattern).code(),
        operation: Operation::Any.code(),
        permission_type: Permission::Any.code(),
        ..Default::default()
    };
    let answer = cluster.call(&request).await?;
    accepted(answer.error_code, answer.error_message.as_deref())?;
    let mut found = Entries::new();
    for resource in answer.resources {
        // A type that this program does not know is treated as ANY.
        let pattern = Pattern {
            resource: ResourceType::of(resource.resource_type).unwrap_or(ResourceType::Any),
            pattern: PatternType::of(resource.pattern_type).unwrap_or(PatternType::Any),
            name: resource.resource_name.to_string(),
        };
        let entries = resource.acls.into_iter().map(|acl| Entry {
            principal: acl.principal.to_string(),
            host: acl.host.to_string(),
            operation: acl.operation,
            permission: acl.permission_type,
        });
        found.entry(pattern).or_default().extend(entries);
    }
    Ok(found)
}

fn lines(entries: &BTreeSet<Entry>) -> String {
    let lines: Vec<_> = entries.iter().map(|entry| format!("\t{entry}")).collect();
    lines.join("\n")
}

fn print(found: &Entries) {
    for (pattern, entries) in found {
        println!(
            "Current ACLs for resource `{pattern}`: \n {} \n",
            lines(entries)
        );
    }
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::*;

    fn read(line: &str) -> Acls {
        let command = Acls::augment_args(clap::Command::new("acls").no_binary_name(true));
        let matches = command
            .try_get_matches_from(line.split_whitespace())
            .unwrap();
        Acls::from_arg_matches(&matches).unwrap()
    }

    /// Entries of a command line, each as `type/pattern/name: principal host operation permission`.
    fn meant(line: &str) -> Vec<String> {
        let entries = read(line).entries(true).unwrap();
        let each = entries.into_iter().flat_map(|(pattern, entries)| {
            let lines = entries.into_iter().map(move |entry| {
                let operation = Operation::of(entry.operation).unwrap();
                let permission = Permission::of(entry.permission).unwrap();
                format!(
                    "{}/{}/{}: {} {} {} {}",
                    pattern.resource.title(),
                    pattern.pattern.name(),
                    pattern.name,
                    entry.principal,
                    entry.host,
                    operation.name(),
                    permission.name()
                )
            });
            lines.collect::<Vec<_>>()
        });
        each.collect()
    }

    #[test]
    fn options_become_entries() {
        assert_eq!(
            meant(
                "--allow-principal User:a --allow-host 1.2.3.4 --deny-principal User:b --operation Read --topic t"
            ),
            [
                "Topic/LITERAL/t: User:a 1.2.3.4 READ ALLOW",
                "Topic/LITERAL/t: User:b * READ DENY",
            ]
        );
        assert_eq!(
            meant(
                "--allow-principal User:a --producer --topic t --transactional-id x --resource-pattern-type prefixed"
            ),
            [
                "Topic/PREFIXED/t: User:a * WRITE ALLOW",
                "Topic/PREFIXED/t: User:a * CREATE ALLOW",
                "Topic/PREFIXED/t: User:a * DESCRIBE ALLOW",
                "TransactionalId/PREFIXED/x: User:a * WRITE ALLOW",
                "TransactionalId/PREFIXED/x: User:a * DESCRIBE ALLOW",
            ]
        );
        assert_eq!(
            meant(
                "--allow-principal User:a --producer --consumer --idempotent --topic t,u --group g"
            ),
            [
                "Topic/LITERAL/t: User:a * READ ALLOW",
                "Topic/LITERAL/t: User:a * WRITE ALLOW",
                "Topic/LITERAL/t: User:a * CREATE ALLOW",
                "Topic/LITERAL/t: User:a * DESCRIBE ALLOW",
                "Topic/LITERAL/u: User:a * READ ALLOW",
                "Topic/LITERAL/u: User:a * WRITE ALLOW",
                "Topic/LITERAL/u: User:a * CREATE ALLOW",
                "Topic/LITERAL/u: User:a * DESCRIBE ALLOW",
                "Group/LITERAL/g: User:a * READ ALLOW",
                "Cluster/LITERAL/kafka-cluster: User:a * IDEMPOTENT_WRITE ALLOW",
            ]
        );
        assert_eq!(
            meant("--allow-principal User:* --cluster --operation describe_configs,AlterConfigs"),
            [
                "Cluster/LITERAL/kafka-cluster: User:* * DESCRIBE_CONFIGS ALLOW",
                "Cluster/LITERAL/kafka-cluster: User:* * ALTER_CONFIGS ALLOW",
            ]
        );
    }

    #[test]
    fn mistakes_are_told() {
        for (line, expected) in [
            ("--allow-principal User:a", "at least one resource"),
            ("--topic t", "--allow-principal, --deny-principal"),
            ("--allow-principal a --topic t", "write User:a"),
            (
                "--allow-principal User:a --topic t --operation Dance",
                "Dance is no operation",
            ),
            (
                "--allow-principal User:a --group g --operation Write",
                "ResourceType GROUP only supports",
            ),
            (
                "--allow-principal User:a --topic t --resource-pattern-type any",
                "not valid when adding",
            ),
            (
                "--allow-principal User:a --topic t --resource-pattern-type x",
                "no resource pattern type",
            ),
            (
                "--allow-principal User:a --topic t --producer --operation Read",
                "can not be used",
            ),
            (
                "--allow-principal User:a --topic t --consumer --idempotent",
                "only available if --producer",
            ),
        ] {
            let Failure(why) = read(line).entries(true).unwrap_err();
            assert!(why.contains(expected), "{line}: {why}");
        }
    }

    #[test]
    fn patterns_and_entries_are_printed_as_kafkas_tool_does() {
        let pattern = Pattern {
            resource: ResourceType::Topic,
            pattern: PatternType::Literal,
            name: "t".to_owned(),
        };
        assert_eq!(
            pattern.to_string(),
            "ResourcePattern(resourceType=TOPIC, name=t, patternType=LITERAL)"
        );
        let entry = Entry {
            principal: "User:a".to_owned(),
            host: "*".to_owned(),
            operation: Operation::Read.code(),
            permission: Permission::Allow.code(),
        };
        assert_eq!(
            entry.to_string(),
            "(principal=User:a, host=*, operation=READ, permissionType=ALLOW)"
        );
    }
}
