/**
 * The package's public interface: a tunnel in three lines of a program. docs/library.md shows how
 * it is used. It needs no root and no native part, writes nothing to the standard streams, and
 * handles no signals.
 */
export type { TunnelEventMap, TunnelEvents } from './embed/events.ts';
export type {
  UndiciConnect,
  UndiciConnectCallback,
  UndiciConnectOptions,
} from './embed/http.ts';
export type { OpenTunnelOptions } from './embed/options.ts';
export type { Prompt, Question } from './embed/prompt.ts';
export type { TunnelSocket } from './embed/socket.ts';
export type { ConnectOptions, DestinationLike, Tunnel } from './embed/tunnel.ts';
export type { ErrorCode } from './errors/codes.ts';
export { TunnelError, UsageError } from './errors/errors.ts';
export { BusyError, ConnectError } from './flow/connector.ts';
export type { Refusal } from './net/refusal.ts';
export type { Fields, Level } from './observe/observer.ts';

import type { OpenTunnelOptions } from './embed/options.ts';
import type { Tunnel } from './embed/tunnel.ts';
import { openLibraryTunnel } from './session/library.ts';

/**
 * Opens a tunnel to a jump host. Resolves when the link stands (with `onDemand`: when it could be
 * dialled). Rejects with UsageError for a wrong option, with TunnelError for all else that goes
 * wrong (`code`, `hint`), or with the signal's reason.
 */
export function openTunnel(options: OpenTunnelOptions): Promise<Tunnel> {
  return openLibraryTunnel(options);
}
