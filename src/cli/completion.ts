/** `tunnel completion`: its help, and its scripts. */
import { fileURLToPath } from 'node:url';
import type { GivenArguments } from '../config/option.ts';
import { UsageError } from '../errors/errors.ts';
import { quoted, shellWord } from '../net/notation.ts';
import type { CommandDeclaration } from './command.ts';
import { SHELLS, type Shell, scriptFor } from './completionscripts.ts';

/** From dist/src/cli/. */
const PROGRAM = fileURLToPath(new URL('../../../tunnel', import.meta.url));

const EXAMPLES = `\
Examples:
  tunnel completion bash >~/.local/share/bash-completion/completions/tunnel
      for bash with the package bash-completion
  source <(tunnel completion bash)
      for bash without it, in ~/.bashrc; for zsh in ~/.zshrc, after compinit
  tunnel completion zsh >/usr/local/share/zsh/site-functions/_tunnel
      for all users of zsh
  tunnel completion fish >~/.config/fish/completions/tunnel.fish
`;

const AFTER = `
Completes commands, options and their values: Hosts of ssh_config, names of known_hosts that
are not hashed, clouds of clouds.yaml, files, and after "exec ... --" the command with its
own completion. The script asks the program at each TAB, so it need not be written again
when the program is updated. Nothing is run or connected to for that.
`;

export const COMPLETION: CommandDeclaration = {
  name: 'completion',
  description: 'print what completes command lines in bash, zsh or fish',
  purpose: 'Set up',
  usage: 'bash|zsh|fish',
  takesOperands: true,
  operands: [SHELLS],
  groups: [],
  answersSshuttle: false,
  examples: EXAMPLES,
  after: AFTER,
};

/** The script for the shell that is given. Throws UsageError. */
export function completionScript({ operands: [first, second] }: GivenArguments): string {
  const shell = SHELLS.find((name): name is Shell => name === first?.text);
  if (shell !== undefined && second === undefined) return scriptFor(shell, shellWord(PROGRAM));
  const wrong = second ?? first;
  throw new UsageError(
    wrong === undefined ? 'no shell is given' : `${quoted(wrong.text)} is not one of the shells`,
    { hint: `write one of ${SHELLS.join(', ')}, as in: tunnel completion bash` },
  );
}
