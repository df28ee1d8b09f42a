//! `stash tickets`.

use stash_api::tickets::{Ticket, TicketRevoke, Tickets};

use super::context::{Context, Finish};
use crate::cli::TicketsCommand;
use crate::output::{Side, short, table, visible};
use crate::zone::{local, local_or};

pub(super) async fn run(context: &Context, what: Option<TicketsCommand>) -> anyhow::Result<Finish> {
    let client = context.client()?;
    match what {
        None => {
            let tickets = client.get(&Tickets::route()).await?;
            context.output.result(&tickets, |tickets| {
                let rows: Vec<Vec<String>> = tickets.tickets.iter().map(row).collect();
                table(&[Side::Left; 6], &rows)
            })?;
        }
        Some(TicketsCommand::Revoke { id }) => {
            let request = TicketRevoke { id };
            let done = client.call(&request).await?;
            context.output.done(&done, |done| {
                format!("ticket {} for one {} is void\n", short(&done.id), done.role)
            })?;
        }
    }
    Ok(Finish::Done)
}

fn row(ticket: &Ticket) -> Vec<String> {
    let by = ticket.used_by.as_deref().map(|node| {
        let name = visible(ticket.used_by_name.as_deref().unwrap_or("-"));
        format!("by {} {name}", short(node))
    });
    vec![
        short(&ticket.id).to_owned(),
        ticket.role.clone(),
        ticket.state.clone(),
        format!("made {}", local_or(ticket.made.as_deref(), "-")),
        format!("expires {}", local(&ticket.expires)),
        by.unwrap_or_default(),
    ]
}

/// A warning of tickets that are open when a member was removed; nothing if there is none.
pub(super) fn warning(open: &[Ticket]) -> Option<String> {
    let ids: Vec<&str> = open.iter().map(|ticket| short(&ticket.id)).collect();
    (!ids.is_empty()).then(|| {
        format!(
            "tickets are open that it may have seen: {}; to make one void: stash tickets revoke ID",
            ids.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_who_joined() {
        let ticket = Ticket {
            id: "0123456789abcdef".into(),
            role: "owner".into(),
            state: "used".into(),
            made: None,
            expires: "2026-12-01T00:00:00Z".into(),
            used_by: Some("fedcba9876543210".into()),
            used_by_name: Some("lap\u{7}top".into()),
            used_at: None,
        };
        let row = row(&ticket).join("|");
        let expires = local("2026-12-01T00:00:00Z");
        let expected =
            format!("0123456789|owner|used|made -|expires {expires}|by fedcba9876 lap\\u{{7}}top");
        assert_eq!(row, expected);
        assert_eq!(warning(&[]), None);
        assert!(warning(&[ticket]).unwrap().contains("0123456789"));
    }
}
