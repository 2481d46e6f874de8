/**
 * Scripts that complete command lines of tunnel. They know nothing of its options: at each TAB they
 * ask `tunnel __complete` (completion/main.ts), and look for files and other commands themselves.
 *
 * What it answers may come from files that others have written. It is only ever quoted and
 * inserted: never expanded, and never evaluated.
 */
export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

/**
 * `program`: the path of this program, quoted for a shell; it is asked where no `tunnel` is in the
 * PATH.
 */
export function scriptFor(shell: Shell, program: string): string {
  return SCRIPTS[shell].replaceAll('@PROGRAM@', () => program);
}

const BASH =
  String.raw`# Completes command lines of tunnel in bash; made by "tunnel completion bash".
_tunnel_ask() {
  if type -P tunnel >/dev/null; then command tunnel __complete "$@"; else @PROGRAM@ __complete "$@"; fi
}

# The command of "exec", which begins with a word of its own after "--", or with the word $1.
_tunnel_exec() {
  local at
  for ((at = 1; at < COMP_CWORD; at++)); do
    [[ -z $1 && \${COMP_WORDS[at]} != -- ]] || [[ -n $1 && \${COMP_WORDS[at]} != "$1" ]] || break
  done
  if [[ -z $1 && at -lt COMP_CWORD ]]; then ((at++)); fi
  if ((at >= COMP_CWORD)); then
    mapfile -t COMPREPLY < <(compgen -c -- "$2")
  elif declare -F _comp_command_offset >/dev/null; then
    _comp_command_offset "$at"
  elif declare -F _command_offset >/dev/null; then
    _command_offset "$at"
  else
    compopt -o default
  fi
}

_tunnel() {
  local reply mode offset file
  COMPREPLY=()
  mapfile -t reply < <(_tunnel_ask bash "\${COMP_LINE:0:COMP_POINT}" "$2" 2>/dev/null)
  read -r mode offset <<<"\${reply[0]-}"
  reply=("\${reply[@]:1}")
  case $mode in
    words)
      COMPREPLY=("\${reply[@]}")
      [[ \${#reply[@]} -gt 1 || \${reply[0]-} != *= ]] || compopt -o nospace
      ;;
    files)
      if [[ $2 == @* ]]; then
        while IFS= read -r file; do
          if [[ -d $file ]]; then compopt -o nospace; file+=/; fi
          printf -v file %q "$file"
          COMPREPLY+=("@$file")
        done < <(compgen -f -- "\${2:1}")
      elif ((\${#reply[@]} > 0)); then
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$2")
        COMPREPLY+=("\${reply[@]}")
      else
        compopt -o default
      fi
      ;;
    directories) compopt -o dirnames ;;
    command) _tunnel_exec "\${reply[0]-}" "$2" ;;
  esac
}

complete -F _tunnel tunnel
`.replaceAll('\\$', '$');

const ZSH = String.raw`#compdef tunnel
# Completes command lines of tunnel in zsh; made by "tunnel completion zsh".
_tunnel_ask() {
  if [[ -n \${commands[tunnel]-} ]]; then command tunnel __complete "$@"; else @PROGRAM@ __complete "$@"; fi
}

_tunnel() {
  local -a reply values shown open
  local mode offset line
  reply=("\${(@f)$(_tunnel_ask zsh -- "\${(@Q)words[2,CURRENT-1]}" "\${(Q)PREFIX}" 2>/dev/null)}")
  read -r mode offset <<<"\${reply[1]-}"
  for line in "\${(@)reply[2,-1]}"; do
    if [[ $line == *=$'\t'* ]]; then open+=("\${line%%$'\t'*}"); continue; fi
    values+=("\${line%%$'\t'*}")
    shown+=("\${(r:28:)line%%$'\t'*}  \${line#*$'\t'}")
  done
  case $mode in
    command)
      # words has the program before the arguments.
      (( offset++ ))
      shift $offset words
      (( CURRENT -= offset ))
      _normal
      return
      ;;
  esac
  local found=1
  (( $#values == 0 )) || { compadd -l -d shown -a values && found=0; }
  (( $#open == 0 )) || { compadd -S '' -a open && found=0; }
  case $mode in
    files) compset -p $offset; _files && found=0 ;;
    directories) compset -p $offset; _files -/ && found=0 ;;
  esac
  return found
}

# From a folder of $fpath it is loaded at the first TAB, and is to complete at once.
if [[ \${funcstack[1]-} == _tunnel ]]; then _tunnel "$@"; else compdef _tunnel tunnel; fi
`.replaceAll('\\$', '$');

const FISH = String.raw`# Completes command lines of tunnel in fish; made by "tunnel completion fish".
function __tunnel_ask
    if type -q -f tunnel
        command tunnel __complete $argv
    else
        @PROGRAM@ __complete $argv
    end
end

function __tunnel_complete
    set -l before (commandline -opc)
    set -l typed (commandline -ct)
    set -l word (string replace -r '^["\']' '' -- $typed)
    set -l reply (__tunnel_ask fish -- $before[2..-1] "$word" 2>/dev/null)
    set -l answer (string split ' ' -- $reply[1])
    test (count $reply) -lt 2; or printf '%s\n' $reply[2..-1]
    switch "$answer[1]"
        case files directories
            set -l head (string sub -l $answer[2] -- $word)
            set -l rest (string sub -s (math $answer[2] + 1) -- $word)
            if test $answer[1] = files
                set -l found (__fish_complete_path $rest)
                test (count $found) -eq 0; or printf '%s\n' "$head"$found
            else
                set -l found (__fish_complete_directories $rest)
                test (count $found) -eq 0; or printf '%s\n' "$head"$found
            end
        case command
            set -l own $before[(math $answer[2] + 2)..-1]
            complete -C "$(string join ' ' -- (string escape -- $own) $typed)"
    end
end

complete -c tunnel -e
complete -c tunnel -f -a '(__tunnel_complete)'
`;

const SCRIPTS: Readonly<Record<Shell, string>> = { bash: BASH, zsh: ZSH, fish: FISH };
