# hanps data import nlvr, clevr: NLVR where it is, and what the command refuses.
set -u
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
    echo "FAIL: $*"
    exit 1
}

bad() { # what the message must contain, then the arguments
    want=$1
    shift
    out=$("$HANPS" data import "$@" 2>&1)
    code=$?
    [ $code = 2 ] || fail "$*: exit status $code: $out"
    [ "$(printf '%s\n' "$out" | wc -l)" = 1 ] || fail "$*: more than one line: $out"
    case $out in *"$want"*) ;; *) fail "$*: '$out' does not say '$want'" ;; esac
    [ ! -e "$work/x" ] || fail "$*: left a store"
}
bad "FOLDER is missing" nlvr --out "$work/x"
bad "--out" clevr "$work"
bad "train.json: No such file" nlvr "$work" --out "$work/x"
bad "CLEVR_train_questions.json: No such file" clevr "$work" --out "$work/x"
bad "HEIGHTxWIDTH" clevr "$work" --out "$work/x" --size 128
bad "1 to 6" nlvr "$work" --out "$work/x" --permutations 7
bad "is for nlvr" clevr "$work" --out "$work/x" --permutations 2
bad "allowed are words" nlvr "$work" --out "$work/x" --tokenizer gpt
bad "vqa, jsonl, nlvr or clevr" gqa --out "$work/x"

data=${HANPS_DATA:-/nonexistent}/nlvr
[ -d "$data" ] || { echo "no NLVR in \$HANPS_DATA"; exit 77; }
mkdir -p "$work/nlvr/train"
head -n 40 "$data/train/train.json" >"$work/nlvr/train/train.json"
ln -s "$data/train/images" "$work/nlvr/train/images"
ln -s "$data/dev" "$work/nlvr/dev"
out=$("$HANPS" data import nlvr "$work/nlvr" --out "$work/store" --size 50x200 --valid-directories 0) ||
    fail "import: $out"
case $out in *"1029 images, 1029 questions"*) ;; *) fail "import says: $out" ;; esac
"$HANPS" data verify "$work/store" >/dev/null || fail "verify"
