/** A process that dials through the system's ssh with the options that it is sent (JSON), says so, and waits to be killed. */
import { silentObserver } from '../../src/observe/observer.ts';
import { dialOpenssh, type OpensshOptions } from '../../src/transport/openssh/dial.ts';

process.once('message', async (text: string) => {
  const options = JSON.parse(text) as OpensshOptions;
  await dialOpenssh({ ...options, observer: silentObserver });
  process.send?.('up');
});
