/**
 * The descriptors that the program passes on when it starts itself as the caller: those that its
 * arguments name, `--ready-fd N` and a shell's process substitution, /dev/fd/N. None of Node's own
 * may be among them, which are root's: the numbers come from the command line.
 */
import { descriptorsOfNode } from '../descriptors.ts';
import { namedDescriptors } from './launcher.ts';

/** Call it before this process has opened anything itself. */
export function inheritedDescriptors(args: readonly string[]): number[] {
  const words = args.flatMap((word, i) => {
    const [, number = args[i - 1] === '--ready-fd' ? word : ''] =
      /^--ready-fd=(.*)$/.exec(word) ?? [];
    return /^\d{1,4}$/.test(number) ? [word, `/dev/fd/${number}`] : [word];
  });
  const own = descriptorsOfNode();
  return namedDescriptors(words).filter((fd) => !own.has(fd));
}
