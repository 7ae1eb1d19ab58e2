# Built with --timeout 3.
{ run, fails, ... }:
{
  too-long = fails "timed-out" [ "after 3 seconds" ] (run "too-long" { } "while :; do echo x; sleep 0.2; done");
  too-long-in-silence = fails "timed-out" [ "after 3 seconds" ] (run "too-long-in-silence" { } "sleep 100");
  # a builder that closes its output is killed
  output-closed = fails "builder-failed" [ "signal 9" ] (run "output-closed" { } "echo > $out; exec > /dev/null 2>&1; sleep 100");
  deaf-to-signals = fails "timed-out" [ "after 3 seconds" ] (run "deaf" { } "trap '' TERM INT HUP; while :; do sleep 1; done");
  in-time = run "in-time" { } "sleep 1; echo > $out";
}
