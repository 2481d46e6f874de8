/**
 * A program for tests: listens with the shortest accept queue and sends its parent the port, then
 * what it has accepted.
 */
import { createServer } from 'node:net';

let accepted = 0;
let open = 0;
const report = (): void => {
  process.send?.({ accepted, open });
};

const server = createServer((socket) => {
  accepted++;
  open++;
  socket.resume();
  socket.on('error', () => {
    // Reported as closed, like an end.
  });
  socket.on('close', () => {
    open--;
    report();
  });
});
server.listen({ host: '127.0.0.1', port: 0, backlog: 1 }, () => {
  const address = server.address();
  if (address !== null && typeof address === 'object') process.send?.(address.port);
});
process.on('disconnect', () => process.exit());
