// The web SDK in Node, which speaks gRPC, and its lite build, which speaks REST.
import { initializeApp } from "firebase/app";
import * as full from "firebase/firestore";
import * as lite from "firebase/firestore/lite";
import assert from "node:assert/strict";

const [host, port] = process.argv[2].split(":");
for (const [name, sdk] of Object.entries({ full, lite })) {
  const { collection, doc, getDoc, getDocs, query, setDoc, where } = sdk;
  const db = sdk.getFirestore(initializeApp({ projectId: `demo-${name}` }, name));
  sdk.setLogLevel("silent");
  sdk.connectFirestoreEmulator(db, host, Number(port), { mockUserToken: "owner" });
  await setDoc(doc(db, "c/a"), { n: 1, deep: { list: [1, "two", null] } });
  assert.deepEqual((await getDoc(doc(db, "c/a"))).data(), { n: 1, deep: { list: [1, "two", null] } });
  await sdk.addDoc(collection(db, "c"), { n: 5 });
  assert.equal((await getDocs(query(collection(db, "c"), where("n", ">", 1)))).size, 1);
  const count = await (sdk.getCount ?? sdk.getCountFromServer)(collection(db, "c"));
  assert.equal(count.data().count, 2);
  await sdk.runTransaction(db, async (transaction) => {
    const before = await transaction.get(doc(db, "c/a"));
    transaction.update(doc(db, "c/a"), { n: before.data().n + 1, m: sdk.increment(3) });
  });
  assert.equal((await getDoc(doc(db, "c/a"))).data().n, 2);
  await assert.rejects(sdk.updateDoc(doc(db, "c/none"), { a: 1 }), { code: "not-found" });
  if (sdk.onSnapshot) {
    await new Promise((resolve) => {
      const stop = sdk.onSnapshot(doc(db, "c/a"), (snapshot) => {
        if (snapshot.data().n === 9) { stop(); resolve(); }
        else setDoc(doc(db, "c/a"), { n: 9 });
      });
    });
  }
}
console.log("ok");
process.exit(0);
