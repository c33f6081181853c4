// Jobs that do nothing, by BullMQ: bullmq_jobs.mjs REDIS_PORT JOBS CONCURRENCY. Prints one line of JSON.
import { Queue, Worker } from "bullmq";
import Redis from "ioredis";

const [port, jobs, concurrency] = process.argv.slice(2).map(Number);
const connection = new Redis({ host: "127.0.0.1", port, db: 2, maxRetriesPerRequest: null });
// As the kernel's are enqueued: so many with each call, by so many callers.
const AT_ONCE = 500;
const CALLERS = 4;

const queue = new Queue("nothing", { connection });
await queue.obliterate({ force: true });
const opts = { removeOnComplete: true, removeOnFail: true };
const caller = async (number) => {
  for (let first = number * AT_ONCE; first < jobs; first += CALLERS * AT_ONCE) {
    const count = Math.min(AT_ONCE, jobs - first);
    await queue.addBulk(Array.from({ length: count }, (_, n) => ({ name: "nothing", data: first + n, opts })));
  }
};
let began = performance.now();
await Promise.all(Array.from({ length: CALLERS }, (_, number) => caller(number)));
const enqueued = (performance.now() - began) / 1000;

let done = 0;
began = performance.now();
const worker = new Worker("nothing", async () => {}, { connection, concurrency });
await new Promise((resolve, reject) => {
  // Once it is written that a job is done.
  worker.on("completed", () => {
    done += 1;
    if (done === jobs) resolve();
  });
  worker.on("failed", (job, error) => reject(error));
});
const processed = (performance.now() - began) / 1000;
await worker.close();
await queue.close();
connection.disconnect();
console.log(JSON.stringify({ enqueued: jobs / enqueued, processed: jobs / processed }));
