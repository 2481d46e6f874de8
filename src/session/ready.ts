/** What a session says when it is ready. */
import { closeSync, writeSync } from 'node:fs';
import type { Glance } from '../control/status.ts';
import { UsageError } from '../errors/errors.ts';
import type { Supervisor } from '../link/supervisor.ts';
import type { SshOptions } from '../ssh/options.ts';
import type { PrompterInUse } from './prompterinuse.ts';
import type { Session } from './session.ts';

export type FollowedLink = Pick<Supervisor, 'view' | 'onChange'>;
export type FollowedQuestions = Pick<PrompterInUse, 'question' | 'onChange'>;

/** Who has started the run, where that isn't a person who looks at it: -D, --pidfile, systemd. */
export interface RunService {
  /**
   * Is told of the link from before the first dial, and of questions. `name`: the tunnel's. Returns
   * what ends that.
   */
  follow(link: FollowedLink, questions: FollowedQuestions, name: string): () => void;
  /** Is told what the start waits for (--wait-online). */
  waitsFor(what: string): void;
  /** Before anything says that the run is ready. Throws TunnelError if it can't be. */
  prepare(): void;
  /** When all has been said. */
  ready(): Promise<void>;
}

/** Shows the run to a person while it goes on. */
export interface RunReport {
  /** `glance`: how the run is now. Returns what ends the report. */
  follow(glance: (refusals: number) => Glance): () => void;
}

export interface Announcement {
  readonly service: RunService | undefined;
  /** --ready-fd */
  readonly fd: number | undefined;
  /** Says it to people. */
  readonly say: () => void;
}

/** For the log, when traffic flows. On demand that begins with the first connection. */
export function readiness({ onDemand }: Pick<SshOptions, 'onDemand'>): string {
  return onDemand === undefined ? 'ready' : 'waiting (on demand)';
}

/** Rejects with TunnelError, or with the session's reason. */
export async function announceReady(
  session: Session,
  { service, fd, say }: Announcement,
): Promise<void> {
  service?.prepare();
  announceTo(fd);
  say();
  if (service !== undefined) await session.within(service.ready());
}

/** Whoever reads it gets one line and the end. Throws UsageError. */
function announceTo(fd: number | undefined): void {
  if (fd === undefined) return;
  try {
    writeSync(fd, 'READY=1\n');
    closeSync(fd);
  } catch (cause) {
    throw new UsageError(`--ready-fd ${fd} can't be written to`, {
      hint: 'pass an open descriptor',
      cause,
    });
  }
}
