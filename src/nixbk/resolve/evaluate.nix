# What nixbk asks of Nix: the derivations behind a list of wishes, in one evaluation.
#
#   request = { inputs = { NAME = STORE PATH; };
#               wishes = [ { file | flake; narHash; system; paths = [ [ NAME ] ]; } ]; }   as JSON
#   answer  = [ { drvPath; outputs; outputName; outputSpecified; outputsToInstall; }
#             | { error = "attribute" | "type"; path; names | type; } ]
#
# A flake is named by a locked reference, and has the NAR hash. The first of `paths` that exists is taken.
# A file may be a function: its arguments are the inputs by name and `system`, as far as it
# takes them; what is found on an attribute path is called likewise, as `nix-build -A` does.
{ request }:
let
  inherit (builtins)
    attrNames
    compareVersions
    elemAt
    filter
    fromJSON
    functionArgs
    getFlake
    head
    intersectAttrs
    isAttrs
    isFunction
    isList
    length
    map
    mapAttrs
    match
    nixVersion
    split
    storePath
    tail
    toXML
    typeOf
    unsafeDiscardStringContext
    ;
  asked = fromJSON request;

  inputs = mapAttrs (_: path: storePath path) asked.inputs;

  call =
    arguments: value:
    if isAttrs value && value ? __functor then
      call arguments (value.__functor value)
    else if isFunction value then
      let
        formals = functionArgs value;
        missing = filter (name: !formals.${name} && !(arguments ? ${name})) (attrNames formals);
      in
      if !(takesSet value) then
        value
      else if missing != [ ] then
        throw "the function needs the argument '${head missing}', which is no input of the manifest"
      else
        value (intersectAttrs formals arguments)
    else
      value;

  # `{ }:` and `{ ... }:` name no argument, as `x:` does, which only the user can call.
  takesSet = function: length (split "<attrspat" (toXML function)) > 1;

  # One step down: { found; value; names; } without forcing more than the step needs.
  step =
    value: name:
    if isAttrs value then
      if value ? ${name} then
        { value = value.${name}; }
      else
        { names = attrNames value; }
    else if isList value && match "0|[1-9][0-9]*" name != null && fromJSON name < length value then
      { value = elemAt value (fromJSON name); }
    else
      { names = [ ]; };

  walk =
    prepare: value: done: path:
    let
      here = prepare value;
      next = step here (head path);
    in
    if path == [ ] then
      { value = here; }
    else if next ? value then
      walk prepare next.value (done ++ [ (head path) ]) (tail path)
    else
      {
        error = "attribute";
        path = done ++ [ (head path) ];
        inherit (next) names;
      };

  # The first path that exists; else how the first of those that came farthest failed.
  search =
    prepare: value: paths:
    let
      first = walk prepare value [ ] (head paths);
      others = search prepare value (tail paths);
    in
    if first ? value || tail paths == [ ] then
      first
    else if others ? value || length others.path > length first.path then
      others
    else
      first;

  describe =
    path: value:
    if isAttrs value && value.type or null == "derivation" then
      {
        drvPath = unsafeDiscardStringContext value.drvPath;
        outputs = value.outputs or [ "out" ];
        outputName = value.outputName or "out";
        outputSpecified = value.outputSpecified or false;
        outputsToInstall = value.meta.outputsToInstall or null;
      }
    else
      {
        error = "type";
        inherit path;
        type = typeOf value;
        names = if isAttrs value then attrNames value else [ ];
      };

  # Not every locked reference holds the hash, nor does Nix always look at it.
  proven =
    wish: flake:
    if flake.narHash == wish.narHash then
      flake.outputs
    else
      throw "the flake has the NAR hash '${flake.narHash}', not '${wish.narHash}'";

  answer =
    wish:
    let
      isFlake = wish ? flake;
      root = if isFlake then proven wish (getFlake wish.flake) else import (/. + wish.file);
      prepare = if isFlake then (value: value) else call (inputs // { inherit (wish) system; });
      found = search prepare root wish.paths;
    in
    if found ? value then describe (head wish.paths) found.value else found;
in
if compareVersions nixVersion "2.18" < 0 then
  throw "Nix ${nixVersion} is older than 2.18"
else
  map answer asked.wishes
