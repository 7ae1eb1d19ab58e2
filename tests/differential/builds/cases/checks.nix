# What an output may refer to, and how large it may be.
{ run, structured, fails, lower, upper, salt, ... }:
let
  both = { inherit lower upper; };
  other = run "other" { inherit salt; } "echo other > $out";
  check = name: checks: structured name (both // { outputs = [ "out" "dev" ]; outputChecks = checks; });
  refuses = fails "output-check";
in
{
  allowed-references = run "allowed-references" (both // { allowedReferences = [ lower "out" ]; }) "echo $lower $out > $out";
  allowed-references-of-many = run "allowed-of-many" (both // { outputs = [ "out" "dev" ]; allowedReferences = [ "dev" upper ]; }) "echo $dev $upper > $out; echo > $dev";
  allowed-references-empty = run "allowed-references-empty" (both // { allowedReferences = [ ]; }) "echo > $out";
  not-among-allowed = refuses [ "${lower}" ] (run "not-among-allowed" (both // { allowedReferences = [ upper ]; }) "echo $lower > $out");
  none-allowed = refuses [ "${upper}" ] (run "none-allowed" (both // { allowedReferences = [ ]; }) "echo $upper > $out");
  itself-not-allowed = refuses [ ] (run "itself-not-allowed" (both // { allowedReferences = [ lower ]; }) "echo $out > $out");
  sibling-not-allowed = refuses [ ] (run "sibling-not-allowed" { outputs = [ "out" "dev" ]; allowedReferences = [ ]; } "echo $dev > $out; echo > $dev");
  allowed-is-not-deep = run "allowed-is-not-deep" (both // { allowedReferences = [ upper ]; }) "echo $upper > $out";

  allowed-requisites = run "allowed-requisites" (both // { allowedRequisites = [ lower upper ]; }) "echo $upper > $out";
  requisite-not-allowed = refuses [ "${lower}" ] (run "requisite-not-allowed" (both // { allowedRequisites = [ upper ]; }) "echo $upper > $out");
  requisites-of-sibling = refuses [ "${lower}" ] (run "requisites-of-sibling" (both // { outputs = [ "out" "dev" ]; allowedRequisites = [ upper "dev" "out" ]; }) "echo $dev > $out; echo $upper > $dev");

  disallowed-references = run "disallowed-references" (both // { disallowedReferences = [ lower ]; }) "echo $upper > $out";
  disallowed-found = refuses [ "${lower}" ] (run "disallowed-found" (both // { disallowedReferences = [ lower other ]; }) "echo $lower > $out");
  disallowed-itself = refuses [ ] (run "disallowed-itself" { disallowedReferences = [ "out" ]; } "echo $out > $out");
  disallowed-both = refuses [ "${lower}" "${upper}" ] (run "disallowed-both" (both // { disallowedReferences = [ lower upper ]; }) "echo $lower $upper > $out");
  disallowed-requisites = run "disallowed-requisites" (both // { inherit other; disallowedRequisites = [ other ]; }) "echo $upper > $out";
  disallowed-requisite-found = refuses [ "${lower}" ] (run "disallowed-requisite-found" (both // { disallowedRequisites = [ lower ]; }) "echo $upper > $out");

  size-at-limit = check "size-at-limit" { out.maxSize = 120; } "printf 12345678 > $out; : > \${outputs[dev]}";
  size-above-limit = refuses [ "120 bytes" "119 bytes" ] (check "size-above-limit" { out.maxSize = 119; } "printf 12345678 > $out; : > \${outputs[dev]}");
  size-of-another = refuses [ ] (check "size-of-another" { dev.maxSize = 100; out.maxSize = 1000; } "printf 12345678 > $out; : > \${outputs[dev]}");
  closure-at-limit = check "closure-at-limit" { out.maxClosureSize = 1000; } "echo $upper > $out; : > \${outputs[dev]}";
  closure-above-limit = refuses [ ] (check "closure-above-limit" { out.maxClosureSize = 300; } "echo $upper > $out; : > \${outputs[dev]}");
  closure-with-siblings = refuses [ ] (check "closure-with-siblings" { out.maxClosureSize = 1000; } "echo \${outputs[dev]} > $out; head -c 900 /dev/zero > \${outputs[dev]}");
  checks-by-output = check "checks-by-output" { out.allowedReferences = [ ]; dev.allowedReferences = [ "out" lower ]; } "echo > $out; echo $out $lower > \${outputs[dev]}";
  check-of-second-output = refuses [ "${upper}" ] (check "check-of-second-output" { dev.disallowedReferences = [ upper ]; } "echo $upper > $out; echo $upper > \${outputs[dev]}");
  structured-requisites = refuses [ "${lower}" ] (check "structured-requisites" { out.disallowedRequisites = [ lower ]; } "echo $upper > $out; : > \${outputs[dev]}");
  structured-allowed-requisites = refuses [ "${lower}" ] (check "structured-allowed-requisites" { out.allowedRequisites = [ upper ]; } "echo $upper > $out; : > \${outputs[dev]}");
  self-references-count = refuses [ ] (check "self-references-count" { out.allowedReferences = [ ]; } "echo $out > $out; : > \${outputs[dev]}");
  # no checks of structured attributes can be told to ignore them, checks without always do, for closures
  self-references-not-ignored = refuses [ ] (check "self-references-not-ignored" { out = { allowedReferences = [ ]; ignoreSelfRefs = true; }; } "echo $out > $out; : > \${outputs[dev]}");
  self-requisites-not-ignored = refuses [ ] (check "self-requisites-not-ignored" { out = { allowedRequisites = [ ]; ignoreSelfRefs = true; }; } "echo $out > $out; : > \${outputs[dev]}");
  self-requisites-ignored = run "self-requisites-ignored" { allowedRequisites = [ ]; disallowedRequisites = [ "out" ]; } "echo $out > $out";
  top-level-checks-ignored = structured "top-level-checks-ignored" (both // { allowedReferences = [ ]; }) "echo $lower > $out";
  unknown-output-name = refuses [ "nonesuch" ] (run "unknown-output-name" (both // { allowedReferences = [ "nonesuch" ]; }) "echo $lower > $out");
  discarded-references = structured "discarded-references" (both // { unsafeDiscardReferences.out = true; }) "echo $lower $out > $out";
  discarded-for-one = structured "discarded-for-one" (both // { outputs = [ "out" "dev" ]; unsafeDiscardReferences = { out = true; dev = false; }; }) "echo $lower \${outputs[dev]} > $out; echo $upper > \${outputs[dev]}";
  discarded-then-checked = structured "discarded-then-checked" (both // { unsafeDiscardReferences.out = true; outputChecks.out.disallowedReferences = [ lower ]; }) "echo $lower > $out";
}
