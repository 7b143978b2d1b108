# deploy/stage: a store on the disk of every host. What is there is left alone, what was interrupted goes on, what is damaged
# on its way does not get its name. The hosts here are folders, by way of the remote shell.
work= # set there
. tests/support/run.sh
mkdir "$work/disk"
cat >"$work/rsh" <<END
#!/bin/bash
# A host sees its own disk by the name /DISK; a host whose name begins with 'cut' loses its connection after 100 kB of
# what is sent to it, one that begins with 'bad' gets other bytes, one that begins with 'off' is off.
host=\$1
shift
command=\$(sed "s,/DISK,$work/disk/\$host,g" <<<"\$*")
case \$host:\$command in
off*) echo "no route to \$host" >&2; exit 255 ;;
cut*'cat\\ \\>\\>'*) [ -e "$work/mended" ] || { head -c 100000 | bash -c "\$command"; exit 255; } ;;
bad*'cat\\ \\>\\>'*) tr '\\000' '\\001' | bash -c "\$command"; exit ;;
esac
exec bash -c "\$command"
END
chmod +x "$work/rsh"
for host in one two cut bad; do mkdir "$work/disk/$host"; done
stage() { timeout 100 deploy/stage --rsh "$work/rsh" --hanps "$HANPS" "$@" >"$work/out" 2>&1; }
there() { "$HANPS" data verify "$work/disk/$1/store" >/dev/null 2>&1; }

printf '# all\none slots=2\n\ntwo # the other\n' >"$work/hostfile"
stage --hostfile "$work/hostfile" -H one:3 "$work/store" /DISK/store || fail "two hosts: $(cat "$work/out")"
[ "$(grep -c 'copied [1-9][0-9]* bytes, verified' "$work/out")" = 2 ] || fail "two hosts: $(cat "$work/out")"
there one && there two || fail 'a copy is not whole'
stage -H one,two "$work/store" /DISK/store || fail "again: $(cat "$work/out")"
[ "$(grep -c ': has it$' "$work/out")" = 2 ] || fail "again: $(cat "$work/out")"

stage -H cut "$work/store" /DISK/store && fail "a connection that was cut was not noticed: $(cat "$work/out")"
grep -q 'the same command goes on' "$work/out" || fail "cut: $(cat "$work/out")"
[ -e "$work/disk/cut/store" ] && fail 'half a store has the name'
touch "$work/mended"
stage -H cut "$work/store" /DISK/store || fail "mended: $(cat "$work/out")"
grep -q "copied $(($(stat -c %s "$work/store/data.mdb") - 100000)) bytes" "$work/out" || fail "mended: $(cat "$work/out")"
there cut || fail 'what was gone on with is not whole'

stage -H bad,one "$work/store" /DISK/store
[ $? = 3 ] || fail "a damaged copy was not noticed: $(cat "$work/out")"
grep -q '^bad: the copy was damaged' "$work/out" && grep -q '^one: has it' "$work/out" || fail "bad: $(cat "$work/out")"
[ -z "$(ls -A "$work/disk/bad")" ] || fail 'a damaged copy is kept'

stage -H off "$work/store" /DISK/store
[ $? = 3 ] && grep -q '^off: cannot run a command there' "$work/out" || fail "off: $(cat "$work/out")"
"$HANPS" data synth sort-of-clevr --out "$work/other" --images 41 --valid 10 --test 0 >/dev/null || fail synth
stage -H one "$work/other" /DISK/store
[ $? = 3 ] && grep -q '^one: something else is at' "$work/out" || fail "another store: $(cat "$work/out")"
for wrong in "$work/store" "-H one" "-H one $work/none" "-H one $work/store relative" "--bogus"; do
    # shellcheck disable=SC2086  # words
    stage $wrong
    [ $? = 2 ] || fail "$wrong: $(cat "$work/out")"
    [ "$(wc -l <"$work/out")" = 1 ] || fail "$wrong: more than a line: $(cat "$work/out")"
done
exit 0
