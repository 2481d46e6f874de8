/** Shared by the two ends of tcplinux.ts: a flow is identified by its port. */
export const BASE_PORT = 7000;

export function upSeed(n: number): string {
  return `up ${n}`;
}

export function downSeed(n: number): string {
  return `down ${n}`;
}

/** Its far side sends back what it gets. */
export function echoes(n: number): boolean {
  return n % 2 === 1;
}
