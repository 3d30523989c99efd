//! b2fuse as mount(8), umount(8) and /etc/fstab call it. Each test has a mount namespace of its own, in which the helper's
//! links lie in /sbin.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use b2fuse::emulator::Server;

use crate::harness::*;

/// An account in a file, a directory for mountpoints, and scripts in a namespace with helpers.
struct Machine {
    server: Server,
    place: Place,
    account: Account,
}

impl Machine {
    fn new() -> Self {
        let server = emulator();
        let account = Account::of(&server);
        let place = Place::new();
        // Users who are not root go through here, too.
        chmod(place.path(), 0o755);
        let config = format!(
            "endpoint: {}\naccountId: {}\napplicationKey: {}\n",
            account.endpoint, account.key_id, account.key
        );
        let machine = Self {
            server,
            place,
            account,
        };
        fs::write(machine.config(), config).expect("written");
        chmod(&machine.config(), 0o600);
        machine
    }

    fn config(&self) -> PathBuf {
        self.place.path().join("b2 fuse.yaml")
    }

    /// A script for sh(1), which ends at the first command that fails. `$mnt`, `$config`, `$bucket` and `$b2fuse` say where
    /// all is; `fails CODE COMMAND...` asks for a failure, `served` tells whether a b2fuse serves `$mnt`.
    fn script(&self, text: &str) -> Command {
        const PRELUDE: &str = r#"
            # What mount(8) notes of options: that of another test is none of ours.
            mkdir -p /run/mount; mount -t tmpfs none /run/mount
            mount -t tmpfs none /usr/sbin
            trap 'kill $(jobs -p) 2>/dev/null || true; umount -i -l "$mnt" 2>/dev/null || true; umount -i -l "$mnt" 2>/dev/null || true' EXIT
            "$b2fuse" install-helper >/dev/null
            fails() {
                wanted=$1; shift; code=0
                "$@" || code=$?
                [ "$code" = "$wanted" ] || { echo "$*: exit code $code instead of $wanted"; exit 99; }
            }
            served() {
                for of in /proc/[0-9]*/cmdline; do
                    if tr '\0' '\n' <"$of" 2>/dev/null | grep -qxe --in-background &&
                        tr '\0' '\n' <"$of" | grep -qxF "$mnt"; then return 0; fi
                done
                return 1
            }
            of_mount() { findmnt -no "$1" "$mnt"; }
            is() { [ "$1" = "$2" ] || { echo "[$1] instead of [$2]"; exit 98; }; }
        "#;
        let plain = b2fuse();
        let mut command = Command::new("unshare");
        command
            .args(["-m", "--propagation", "private", "sh", "-euc"])
            .arg(format!("{PRELUDE}\n{text}"))
            .envs(plain.get_envs().filter_map(|(k, v)| Some((k, v?))))
            .env_remove("RUST_LOG")
            .env("b2fuse", plain.get_program())
            .env("mnt", self.place.mnt())
            .env("dir", self.place.path())
            .env("config", self.config())
            .env("bucket", &self.account.bucket)
            .current_dir("/")
            .stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn runs(&self, text: &str) -> String {
        let (code, said) = outcome(&mut self.script(text));
        assert_eq!(code, Some(0), "{said}");
        said
    }
}

fn chmod(path: &Path, mode: u32) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs::set_permissions(path, mode).expect("set");
}

#[test]
fn mount_and_umount_work_as_with_any_filesystem() {
    let machine = Machine::new();
    let said = machine.runs(
        r#"
        mount -t b2fuse "$bucket" "$mnt" -o "config=$config,allow_other,_netdev,nofail,x-gvfs-hide,uid=7"
        is "$(of_mount SOURCE)" "$bucket"
        is "$(of_mount FSTYPE)" fuse.b2fuse
        of_mount OPTIONS | grep -q allow_other
        of_mount OPTIONS | grep -q nosuid,nodev
        echo hello >"$mnt/file"
        mkdir "$mnt/sub"; echo below >"$mnt/sub/file"
        is "$(stat -c %u "$mnt")" 7
        umount "$mnt"
        ! served || { echo "it still runs"; exit 1; }
        is "$(of_mount SOURCE)" "" || true
        # Of the other type's name, a directory of the bucket, read-only.
        mount -t fuse.b2fuse "$bucket:sub" "$mnt" -r -o "config=$config,uhelper=b2fuse" -o noexec
        is "$(cat "$mnt/file")" below
        is "$(of_mount SOURCE)" "$bucket:sub"
        of_mount OPTIONS | grep -q '^ro,.*noexec'
        ! touch "$mnt/new" 2>/dev/null || { echo "not read-only"; exit 1; }
        umount "$mnt"
        ! served || { echo "it still runs"; exit 1; }
    "#,
    );
    assert!(
        !said.contains(" is mounted on "),
        "mount(8) is quiet: {said}"
    );
}

#[test]
fn fstab_mounts_what_it_lists_once() {
    let machine = Machine::new();
    machine.runs(
        r#"
        mkdir "$dir/other"
        line=$(echo "$config" | sed 's/ /\\040/g')
        cat >"$dir/fstab" <<END
b2://$bucket $mnt b2fuse config=$line,_netdev,nofail,x-systemd.automount,metadata_ttl=5s 0 0
$bucket $dir/other b2fuse config=$line,noauto,ro 0 0
END
        mount -a -T "$dir/fstab"
        mount -a -T "$dir/fstab"
        is "$(grep -F " $dir/" /proc/mounts | grep -c ' fuse.b2fuse ')" 1
        echo hello >"$mnt/file"
        mount -T "$dir/fstab" "$dir/other"
        is "$(cat "$dir/other/file")" hello
        fails 32 umount "$dir"
        umount "$dir/other"
        umount "$mnt"
    "#,
    );
}

#[test]
fn the_line_that_fstab_prints_mounts_the_same() {
    let machine = Machine::new();
    let said = machine.runs(
        r#"
        mkdir "$dir/a b"; mnt="$dir/a b"
        "$b2fuse" fstab --config "$config" --bucket-name "$bucket" --allow-other -o uid=7 "$mnt" >"$dir/fstab"
        cat "$dir/fstab"
        mount -a -T "$dir/fstab"
        is "$(stat -c %u "$mnt")" 7
        of_mount OPTIONS | grep -q allow_other
        mount -a -T "$dir/fstab"
        umount "$mnt"
        # Without a file there is nothing that mount(8) could know.
        fails 2 env B2_APPLICATION_KEY_ID=a B2_APPLICATION_KEY=b "$b2fuse" fstab "$mnt"
        # A directory of that name.
        cd "$dir"; mkdir fstab.d; cd fstab.d; mkdir fstab; mnt="$PWD/fstab"
        "$b2fuse" --background --config "$config" --bucket-name "$bucket" ./fstab >/dev/null
        umount "$mnt"
    "#,
    );
    let config = machine.config().display().to_string().replace(' ', "\\040");
    let line = format!(
        "{} {}/a\\040b b2fuse config={config},allow_other,uid=7,_netdev,nofail,uhelper=b2fuse,x-systemd.mount-timeout=1h 0 0\n",
        machine.account.bucket,
        machine.place.path().display()
    );
    assert!(said.contains(&line), "{said}\n{line}");
}

#[test]
fn what_goes_wrong_is_told_with_the_exit_codes_of_mount() {
    let machine = Machine::new();
    let said = machine.runs(
        r#"
        fails 1 mount -t b2fuse "$bucket" "$mnt" -o "config=$config,alow_other"
        fails 1 mount -t b2fuse "$bucket" "$mnt" -o "config=$config,metadata_ttl=soon"
        fails 1 mount -t b2fuse "$bucket" "$mnt" -o config=/nonexistent
        fails 32 mount -t b2fuse no-such-bucket "$mnt" -o "config=$config"
        fails 32 mount -t b2fuse "$bucket" "$mnt/missing" -o "config=$config"
        fails 1 mount -t b2fuse "$bucket" "$mnt" -o "config=$config,application_key=K001secret"
        mount -f -t b2fuse "$bucket" "$mnt" -o "config=$config"
        mount.b2fuse -f "$bucket" "$mnt" -o "config=$config"
        fails 1 mount.b2fuse -f "$bucket" "$mnt" -o config=/nonexistent
        mount -s -t b2fuse "$bucket" "$mnt" -o "config=$config,alow_other"
        fails 1 mount -t b2fuse "$bucket" "$mnt" -o "config=$config,remount,ro"
        fails 32 mount -t b2fuse other "$mnt" -o "config=$config"
        umount "$mnt"
        fails 32 umount.b2fuse "$mnt"
        fails 1 umount.b2fuse
    "#,
    );
    for told in [
        "-o alow_other: there is no such option: is allow_other meant?",
        "knows no bucket no-such-bucket",
        "missing does not exist: make it with",
        "the application key is no option",
        "unmount, and mount again",
        "is already a mountpoint",
        "no b2fuse is mounted on",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
    assert!(!said.contains("K001secret"), "{said}");
}

#[test]
fn umount_returns_when_everything_is_stored() {
    let machine = Machine::new();
    let mut running = machine.script(
        r#"
        mount -t b2fuse "$bucket" "$mnt" -o "config=$config,write_back=1h,_netdev"
        echo hello >"$mnt/file"
        umount "$mnt"
        ! served
    "#,
    );
    machine
        .server
        .set_faults(&["b2_upload_file:503"])
        .expect("faults");
    let mut running = Running::start(&mut running);
    running.hear("waiting until its b2fuse (process ");
    assert!(!running.has_ended(), "{}", running.said());
    machine.server.set_faults(&[]).expect("none");
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn umount_fails_when_not_everything_could_be_stored() {
    let machine = Machine::new();
    machine
        .server
        .set_faults(&["b2_upload_file:503"])
        .expect("faults");
    let said = machine.runs(
        r#"
        mount -t b2fuse "$bucket" "$mnt" -o "config=$config,write_back=1h,drain_timeout=1s,uhelper=b2fuse"
        echo hello >"$mnt/file"
        exec 7<"$mnt/file"
        fails 32 umount "$mnt"
        exec 7<&-
        fails 32 umount "$mnt"
        ! served
        # Killed: nobody can tell.
        mount -t b2fuse "$bucket" "$mnt" -o "config=$config,_netdev"
        for of in /proc/[0-9]*/cmdline; do
            if tr '\0' '\n' <"$of" 2>/dev/null | grep -qxe --in-background && grep -qF "$mnt" "$of"; then
                pid=${of#/proc/}; kill -KILL "${pid%/cmdline}"
            fi
        done
        while served; do sleep 0.05; done
        fails 32 umount "$mnt"
        is "$(grep -cF " $mnt " /proc/mounts || true)" 0
    "#,
    );
    for told in [
        "somebody uses it: fuser -vm",
        "not everything was stored",
        "no process is known that served it",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
}

#[test]
fn what_is_in_use_is_detached_lazily() {
    let machine = Machine::new();
    let said = machine.runs(
        r#"
        mount -t b2fuse "$bucket" "$mnt" -o "config=$config,_netdev"
        echo hello >"$mnt/file"
        exec 7<"$mnt/file"
        umount -l "$mnt"
        served
        read -r word <&7; is "$word" hello
        exec 7<&-
        while served; do sleep 0.05; done
    "#,
    );
    assert!(said.contains("still in use: detached"), "{said}");
}

/// As with a line of fstab(5) that has `user`: without root's rights, and with no environment but mount(8)'s.
#[test]
fn users_mount_and_unmount_what_fstab_lets_them() {
    let machine = Machine::new();
    machine.runs(
        r#"
        # Another b2fuse than root's: the tests' directory may be closed to others.
        cp "$b2fuse" "$dir/b2fuse"; chmod 755 "$dir/b2fuse"; rm /sbin/*b2fuse
        "$dir/b2fuse" install-helper >/dev/null
        mount -t tmpfs none /run; chmod 755 /run
        mknod "$dir/fuse" c 10 229; chmod 666 "$dir/fuse"; mount --bind "$dir/fuse" /dev/fuse
        chown 65534:65534 "$mnt" "$config"
        line=$(echo "$config" | sed 's/ /\\040/g')
        printf '%s\n' "$bucket $mnt b2fuse config=$line,noauto,user 0 0" >"$dir/fstab"
        mount --bind "$dir/fstab" /etc/fstab
        as="setpriv --reuid 65534 --regid 65534 --clear-groups env -i"
        $as mount "$mnt"
        of_mount OPTIONS | grep -q user_id=65534
        of_mount OPTIONS | grep -q nosuid,nodev,noexec
        $as sh -c 'echo hello >"$1/file"' sh "$mnt"
        $as umount "$mnt"
        ! served
        # Root unmounts it, too.
        $as PATH= "$dir/b2fuse" --background -o "config=$config,bucket=$bucket" "$mnt" >/dev/null
        is "$($as cat "$mnt/file")" hello
        umount.b2fuse "$mnt"
        ! served
    "#,
    );
}

/// What a killed b2fuse leaves is detached at the next start, so that a service manager can simply start again.
#[test]
fn the_remains_of_a_killed_mount_are_detached_at_the_next_start() {
    let machine = Machine::new();
    let said = machine.runs(
        r#"
        start() { "$b2fuse" --background -o "config=$config,bucket=$bucket" "$mnt" >/dev/null; }
        killed() {
            for of in /proc/[0-9]*/cmdline; do
                if tr '\0' '\n' <"$of" 2>/dev/null | grep -qxe --in-background && grep -qF "$mnt" "$of"; then
                    pid=${of#/proc/}; kill -KILL "${pid%/cmdline}"
                fi
            done
            while served; do sleep 0.05; done
        }
        start; echo hello >"$mnt/file"; killed
        ! ls "$mnt" 2>/dev/null
        start
        is "$(cat "$mnt/file")" hello
        is "$(grep -cF " $mnt " /proc/mounts)" 1
        killed
        mount -t b2fuse "$bucket" "$mnt" -o "config=$config"
        is "$(grep -cF " $mnt " /proc/mounts)" 1
        umount "$mnt"
        # Those of another program are not ours to take away.
        exec 9<>/dev/fuse
        mount -i -t fuse -o fd=9,rootmode=40000,user_id=0,group_id=0,subtype=other other "$mnt"
        exec 9>&-
        fails 1 start
        is "$(of_mount FSTYPE)" fuse.other
    "#,
    );
    assert_eq!(
        said.matches("detached; what it had not stored").count(),
        2,
        "{said}"
    );
    assert!(said.contains("clear them with: fusermount3 -u"), "{said}");
}

/// Of several starts one clears the remains and mounts; none detaches what another has mounted.
#[test]
fn remains_are_cleared_once_when_many_start() {
    let server = emulator();
    let account = Account::of(&server);
    let place = Place::new();
    for _ in 0..3 {
        let mut killed = Running::mount(&mut b2fuse_with(&account), &place.mnt());
        killed.signal(nix::sys::signal::Signal::SIGKILL);
        killed.end();
        let mut started: Vec<Running> = (0..5)
            .map(|_| Running::start(b2fuse_with(&account).arg(place.mnt())))
            .collect();
        eventually("all but one have ended", || {
            let ended = started.iter_mut().map(Running::has_ended);
            ended.filter(|over| !over).count() <= 1
        });
        started.retain_mut(|one| !one.has_ended());
        let [serving] = started.as_mut_slice() else {
            panic!("one serves");
        };
        assert!(serving.line().contains(" is mounted on "));
        assert_eq!(mounted_on(&place.mnt()), ["fuse.b2fuse"]);
        fs::write(place.mnt().join("file"), "x").expect("it lives");
        serving.signal(nix::sys::signal::Signal::SIGTERM);
        assert_eq!(serving.end().0, Some(0));
    }
}

/// `x-systemd.automount`: an autofs holds the mountpoint, and whoever goes there waits until mount(8) has mounted. Neither
/// mount(8) nor b2fuse may go there before.
#[test]
fn a_mountpoint_that_autofs_holds_is_mounted_on() {
    let machine = Machine::new();
    let automounter = include_str!("automount.py");
    fs::write(machine.place.path().join("automount.py"), automounter).expect("written");
    machine.runs(
        r#"
        mount -t b2fuse "$bucket" "$mnt" -o "config=$config,_netdev"
        echo hello >"$mnt/file"; umount "$mnt"
        python3 "$dir/automount.py" "$mnt" mount -t b2fuse "$bucket" "$mnt" -o "config=$config,noexec,_netdev" &
        until grep -qF " $mnt autofs " /proc/mounts; do sleep 0.05; done
        is "$(timeout 20 cat "$mnt/file")" hello
        is "$(findmnt -no FSTYPE "$mnt" | tail -n 1)" fuse.b2fuse
        findmnt -no OPTIONS "$mnt" | tail -n 1 | grep -q 'nosuid,nodev,noexec,noatime,.*default_permissions'
        echo more >"$mnt/more"
        umount "$mnt"
        ! served
        # Again; the second mount lies where the first one was.
        is "$(timeout 20 cat "$mnt/more")" more
        umount "$mnt"
        umount -l "$mnt"
        kill $!; wait || true
    "#,
    );
}
