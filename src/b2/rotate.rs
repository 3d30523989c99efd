//! Another key for a client that goes on: keys end, or are replaced because somebody may have seen them.

use std::sync::Arc;

use super::auth::{Allowed, Flight, Key, authorize};
use super::{Account, Client, Secret};

impl Client {
    /// Takes another key from the next call on, if it reaches the same bucket and prefix with all rights that the present
    /// one has there; else the present one stays, and the answer says why. Calls under way end with the old token, which
    /// B2 accepts until it ends (API §2).
    pub async fn take_key(&self, id: &str, secret: &Secret) -> Result<(), String> {
        let sessions = &self.shared.sessions;
        let key = Key {
            id: id.to_owned(),
            secret: secret.clone(),
        };
        let mut flight = sessions.flight.lock().await;
        let old = self.session();
        let generation = old.generation + 1;
        let shared = &self.shared;
        let authorized = authorize(
            &shared.http,
            &key,
            &shared.counting,
            &shared.limiter,
            generation,
        );
        let (mut session, allowed) = authorized.await.map_err(|error| error.to_string())?;
        fits(&old.account, &session.account, &allowed)?;
        let account = &mut session.account;
        account.bucket_id.clone_from(&old.account.bucket_id);
        account.bucket_name.clone_from(&old.account.bucket_name);
        *sessions.key.write() = Arc::new(key);
        sessions.replace(session);
        *flight = Flight::default();
        Ok(())
    }
}

/// Whether what a new key may do covers what the present one may.
fn fits(old: &Account, new: &Account, allowed: &Allowed) -> Result<(), String> {
    let reaches = match allowed {
        Some(buckets) => buckets.iter().any(|bucket| bucket.id == old.bucket_id),
        None => new.account_id == old.account_id,
    };
    if !reaches {
        return Err(format!("it does not reach the bucket {}", old.bucket_name));
    }
    if !old.name_prefix.starts_with(&new.name_prefix) {
        return Err(format!(
            "it reaches only names that start with {:?}",
            new.name_prefix
        ));
    }
    let lacking: Vec<&str> = ["listFiles", "readFiles", "writeFiles", "deleteFiles"]
        .into_iter()
        .filter(|right| old.may(right) && !new.may(right))
        .collect();
    if lacking.is_empty() {
        Ok(())
    } else {
        Err(format!("it lacks {}", lacking.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::b2::wire::AllowedBucket;

    fn account(id: &str, prefix: &str, rights: &[&str]) -> Account {
        Account {
            account_id: id.to_owned(),
            bucket_id: "b".to_owned(),
            bucket_name: "photos".to_owned(),
            capabilities: rights.iter().map(|&right| right.to_owned()).collect(),
            name_prefix: prefix.to_owned(),
            minimum_part_size: 5_000_000,
            recommended_part_size: 100_000_000,
        }
    }

    #[test]
    fn a_key_must_reach_as_far_as_the_one_before() {
        let all = ["listFiles", "readFiles", "writeFiles", "deleteFiles"];
        let bound = |id: &str| {
            Some(vec![AllowedBucket {
                id: id.to_owned(),
                name: None,
            }])
        };
        let old = account("a", "x/", &all);
        for (new, allowed, taken) in [
            (account("a", "x/", &all), None, true),
            (account("a", "", &all), None, true),
            (account("a", "x", &all), bound("b"), true),
            (account("other", "", &all), bound("b"), true),
            (account("other", "", &all), None, false),
            (account("a", "", &all), bound("c"), false),
            (account("a", "y/", &all), None, false),
            (account("a", "x/y/", &all), None, false),
            (account("a", "", &all[..3]), None, false),
        ] {
            let said = fits(&old, &new, &allowed);
            assert_eq!(said.is_ok(), taken, "{new:?} {allowed:?}: {said:?}");
        }
        let reader = account("a", "", &all[..2]);
        assert_eq!(fits(&reader, &account("a", "", &all), &None), Ok(()));
    }
}
