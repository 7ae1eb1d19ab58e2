# What there is to build in one file of cases:
#   { CASE = { drvPath; kind; mentions; refused; }; }, null for the kind of what succeeds.
{ file, salt, seedPath, url, specification }:
let
  cases = import file (import ./common.nix { inherit salt seedPath url specification; });
in
builtins.mapAttrs
  (_: drv: {
    drvPath = builtins.unsafeDiscardStringContext drv.drvPath;
    kind = drv.kind or null;
    mentions = map builtins.unsafeDiscardStringContext (drv.mentions or [ ]);
    refused = drv.refused or "";
  })
  cases
